"""`cada evaluate`: measure one model on request sets, going on where a killed run stopped."""

import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from cada.attacks.types import Attempt
from cada.casebook.loader import load_casebook
from cada.config.judge import JudgeOptions
from cada.config.recipe import Prompting
from cada.config.sources import RequestSource
from cada.errors import CadaError
from cada.evaluation.canary import canary_rows, load_pairs
from cada.evaluation.local import LocalTarget
from cada.evaluation.metrics import Row, tabulate
from cada.evaluation.sets import measure
from cada.files import held, write_json, write_text
from cada.judging.make import cost, make_judge
from cada.judging.verdict import check_judge
from cada.models.fingerprint import fingerprint
from cada.models.load import load_policy
from cada.pipelines.run_folder import read_config
from cada.requests.sources import load_sets
from cada.rollout.prompts import Prompter


@dataclass(frozen=True)
class Evaluation:
    """What to measure of which model."""

    model: str
    sources: list[RequestSource]
    modes: tuple[str, ...]
    casebook: str
    prompting: Prompting
    max_tokens: int
    where: dict[str, bool | int | str] = field(default_factory=dict)
    limit: int | None = None
    canary: str | None = None
    device: str | None = None
    judge: JudgeOptions = field(default_factory=JudgeOptions)

    def as_dict(self) -> dict[str, Any]:
        """Plain data that tells two evaluations apart."""
        return asdict(self) | {
            "sources": [s.model_dump(mode="json") for s in self.sources],
            "modes": list(self.modes),
            "prompting": self.prompting.model_dump(mode="json"),
            "weights": fingerprint(self.model),
            "judge": self.judge.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class Result:
    """The table, and what a judge cost that asks somebody."""

    rows: list[Row]
    judge: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `evaluation.json` holds it."""
        return {"judge": self.judge, "rows": [row.as_dict() for row in self.rows]}


class Watcher(Protocol):
    """Is told what goes on, for a progress bar."""

    def stage(self, text: str) -> None:
        """A new stage begins."""
        ...

    def measured(self, text: str, done: int, total: int) -> None:
        """So many answers of a set are there."""
        ...


def evaluate(job: Evaluation, out: Path | None, watcher: Watcher) -> Result:
    """Answer, judge and tabulate; with `out`, keep the answers and the table there.

    Raises:
        CadaError: bad input, or an `out` that holds another evaluation.
    """
    casebook = load_casebook(job.casebook)
    limit = {"limit": job.limit} if job.limit else {}
    sets = load_sets([s.model_copy(update=limit) for s in job.sources], casebook, job.where)
    if job.canary:
        load_pairs(job.canary)
    asked = [request for requests in sets.values() for request in requests]
    check_judge(job.judge.kind, job.judge.harm_only, asked)
    if out is not None:
        _claim(out, job)
    judge = make_judge(job.judge, device=job.device)
    watcher.stage(f"loading {job.model}")
    policy = load_policy(job.model, device=job.device)
    prompter = Prompter(casebook, job.prompting, policy.tokenizer, policy.system_role)
    target = LocalTarget(policy, prompter)
    attempts = {name: [Attempt.plain(r) for r in requests] for name, requests in sets.items()}
    watcher.stage("answering")
    with tempfile.TemporaryDirectory() as scratch:
        place = out or Path(scratch)
        with held(place):
            answers = measure(
                target,
                judge,
                attempts,
                job.modes,
                job.max_tokens,
                place / "answers.jsonl",
                job.model,
                watcher.measured,
            )
            rows = tabulate(answers, job.model, judge.name)
            rows += canary_rows(policy, prompter, job.canary, job.model)
            if out is not None:
                write_json(out / "evaluation.json", Result(rows, cost(judge)).as_dict())
    return Result(rows, cost(judge))


def _claim(out: Path, job: Evaluation) -> None:
    """Make `out` this evaluation's, or see that it is.

    Raises:
        CadaError: it holds another evaluation, or something else.
    """
    config = out / "config.yaml"
    plain = job.as_dict()
    if config.exists():
        there = read_config(config)
        if there == plain:
            return
        differing = [k for k in plain if there.get(k) != plain[k]]
        raise CadaError(
            f"the folder holds another evaluation (it differs in {', '.join(differing[:3])})",
            where=str(out),
            mend="Choose another --out",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CadaError(
            "the output exists and is no evaluation", where=str(out), mend="Choose another --out"
        )
    write_text(config, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
