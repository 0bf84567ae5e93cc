"""A small run folder, built from plain values, that the tests change where they need to."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from cada.config.phase import Kl, Phase, RolloutMode
from cada.config.recipe import Recipe
from cada.evaluation.answers import Answer
from cada.evaluation.metrics import row_of, tabulate
from cada.reporting.load import RunData, load_run
from cada.stats import mean_normal

HAZARDS = ("violent_crimes", "privacy", "elections")
KINDS = ("harmful", "lookalike", "ordinary")
PER_KIND = 20

Outcomes = Callable[[str, int], str]


def recipe(**changes: Any) -> Recipe:
    distil = Phase(
        name="distil",
        steps=2,
        positive_only=True,
        advantage="reward",
        kl=Kl(beta=0),
        learning_rate=3e-5,
    )
    reinforce = Phase(name="reinforce", steps=3, rollout_mode=RolloutMode.NONE)
    return Recipe(**{"phases": [distil, reinforce], "output": "runs/small", **changes})


def answered(kind: str, index: int, *, refused: float, lookalike: float, ordinary: float) -> str:
    """The outcome of the index-th request, so that the rates come out as given."""
    place = index / PER_KIND
    if kind == "harmful":
        return "refused" if place < refused else "complied"
    rate = lookalike if kind == "lookalike" else ordinary
    return "complied" if place < rate else "refused"


def answers(outcomes: Outcomes, *, mode: str = "none", reasoned: bool = True) -> list[Answer]:
    made = []
    for kind in KINDS:
        for index in range(PER_KIND):
            hazard = None if kind == "ordinary" else HAZARDS[index % len(HAZARDS)]
            outcome = outcomes(kind, index)
            response = f"I won't help ({index})." if outcome == "refused" else f"{kind} {index}."
            made.append(
                Answer(
                    benchmark="embedded",
                    attack="none",
                    mode=mode,
                    request_id=f"{kind}-{index:02d}",
                    kind=kind,
                    hazard=hazard,
                    request=f"A {kind} request, number {index}",
                    sent=f"A {kind} request, number {index}",
                    prefill="",
                    text=response,
                    reasoning="The request asks for something." if reasoned else "",
                    response=response,
                    outcome=outcome,
                    score=None,
                    reason="rule",
                    judge="rules",
                    reasoned=reasoned,
                    tokens=30,
                    finish_reason="stop",
                )
            )
    return made


def good_before(kind: str, index: int) -> str:
    return answered(kind, index, refused=0.0, lookalike=0.95, ordinary=1.0)


def good_after(kind: str, index: int) -> str:
    return answered(kind, index, refused=0.9, lookalike=0.9, ordinary=1.0)


def metrics(count: int = 5) -> list[dict[str, Any]]:
    lines = []
    for index in range(count):
        plus = 0.3 + 0.1 * index
        lines.append(
            {
                "step": index + 1,
                "phase": "distil" if index < 2 else "reinforce",
                "phase_step": index + 1 if index < 2 else index - 1,
                "rollouts": 256,
                "reward": plus - 0.2,
                "share_plus": plus,
                "share_zero": 0.8 - plus,
                "share_minus": 0.2,
                "share_unscored": 0.0,
                "reasoned": 0.6 + 0.05 * index,
                "length": 60.0 + index,
                "truncated": 0.05,
                "harmful_plus": plus,
                "harmful_refused": plus + 0.05,
                "lookalike_plus": plus,
                "lookalike_refused": 0.05,
                "ordinary_plus": plus,
                "ordinary_refused": 0.0,
                "benign_refused": 0.03,
                "groups_without_signal": 0.6,
                "loss": 1.0,
                "grad_norm": 3.0 - 0.3 * index,
                "entropy": 2.0,
                "kl": None if index < 2 else 0.01 * index,
                "skipped": 0,
                "updates": 1,
                "seconds_rollout": 60.0,
                "seconds_update": 20.0,
            }
        )
    return lines


def write_run(
    folder: Path,
    *,
    before: list[Answer] | None = None,
    after: list[Answer] | None = None,
    lines: list[dict[str, Any]] | None = None,
    chosen: Recipe | None = None,
    canary: tuple[float, float] = (2.40, 2.45),
) -> RunData:
    """Write a run's folder with the same files and fields as `cada align`, and read it."""
    folder.mkdir(parents=True, exist_ok=True)
    before = answers(good_before, reasoned=False) if before is None else before
    after = answers(good_after) if after is None else after
    config = (chosen or recipe()).model_dump(mode="json")
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    environment = {"python": "3.12", "packages": {"torch": "2.13.0"}, "seed": 0}
    (folder / "environment.json").write_text(json.dumps(environment))
    _write_lines(folder / "metrics.jsonl", metrics() if lines is None else lines)
    _write_lines(folder / "answers-before.jsonl", [asdict(a) for a in before])
    _write_lines(folder / "answers-after.jsonl", [asdict(a) for a in after])
    rows = []
    for label, side, loss in (("before", before, canary[0]), ("after", after, canary[1])):
        rows += [row.as_dict() for row in tabulate(side, label, "rules")]
        for metric, value in (("canary_loss", loss), ("canary_opening", loss + 1)):
            estimate = mean_normal([value - 0.1, value + 0.1] * 20)
            rows.append(row_of(label, "canary", "none", metric, estimate, 0, "loss").as_dict())
    (folder / "evaluation.json").write_text(json.dumps({"stopped": None, "rows": rows}))
    return load_run(folder)


def changed(some: list[Answer], index: int, **values: Any) -> list[Answer]:
    """The answers with one of them changed."""
    return [replace(a, **values) if i == index else a for i, a in enumerate(some)]


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_evaluation(
    folder: Path, some: list[Answer], *, judge: str = "rules", model: str = "m", **config: Any
) -> Path:
    """Write a folder with the same files and fields as `cada evaluate --out`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"model": model, "max_tokens": 64, "casebook": "default", **config}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    _write_lines(folder / "answers.jsonl", [asdict(a) for a in some])
    rows = [row.as_dict() for row in tabulate(some, model, judge)]
    (folder / "evaluation.json").write_text(json.dumps({"judge": None, "rows": rows}))
    return folder
