"""Fits the part of the refusal judge that goes by an answer's manner; writes its weights.

    python tools/fit_refusal.py --data ../shared/data --more other.csv          # fit
    python tools/fit_refusal.py --data ../shared/data --more other.csv --check  # models left out

It learns from XSTest's completions with people's labels (prompts CC BY 4.0, completions under the
terms of OpenAI, Meta and Mistral; `--more` takes further files of them, each a model), and from
this project's wordings, examples and question-answer pairs (Apache-2.0). The weights hold no text.
The fifth of XSTest's prompts that nobody read who wrote the rules takes no part in the fit.

--check leaves out a model and a fifth of the prompts at a time, and says how far the judge agrees
with people on them with the rules alone and with what it learnt from the others.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cada.evaluation.canary import load_pairs
from cada.judging import manner
from cada.judging.agreement import Agreement, Judged
from cada.judging.labels import Labelled, read_labelled
from cada.judging.refusal import RefusalJudge, read
from cada.judging.text import well_formed
from cada.judging.verdict import Outcome

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/cada/judging"
STRENGTH = 0.01
FOLDS = 5
SHARES = {"own examples": 4.0, "own wordings": 0.5, "own pairs": 0.5, "moved": 0.25}

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """An answer to learn from: who wrote it, whether it refuses at all, and its prompt's fold."""

    answer: Labelled
    writer: str
    refuses: bool
    fold: int
    share: float


def main(
    data: Annotated[Path, typer.Option(help="The folder of benchmark data.")],
    more: Annotated[list[Path] | None, typer.Option(help="Answers of a further model.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only report models left out.")] = False,
) -> None:
    """Fit the weights, or report how the judge does on models that it has not seen."""
    answers = read_all(data, more or [])
    if check:
        for name, (rules, both) in left_out(answers).items():
            typer.echo(f"{name:<28} rules {_said(rules)} | with the fit {_said(both)}")
        return
    rows = [row for row in rows_of(answers) if row.fold]
    weights, bias = fit(rows, matrix(rows))
    held = {"weights": weights.astype(np.float32), "bias": np.array([bias], dtype=np.float32)}
    save_file(held, PACKAGE / manner.FILE)
    typer.echo(f"{len(rows)} answers, {len(weights)} weights")


def read_all(data: Path, more: Sequence[Path]) -> list[Labelled]:
    """XSTest's labelled completions, and those of further models, named by their files."""
    found = read_labelled(data / "xstest/xstest_v2_completions_human.csv")
    for path in more:
        for each in read_labelled(path):
            writer = each.model or path.stem
            found.append(Labelled(each.request, each.response, each.row, each.label, writer))
    return found


def left_out(answers: list[Labelled]) -> dict[str, tuple[Agreement, Agreement]]:
    """For each model and fold of prompts: the judge by rules alone, and fitted to all others."""
    rows = rows_of(answers)
    values = matrix(rows)
    names = sorted({row.writer for row in rows if row.share == 1.0})
    rules: dict[str, list[Judged]] = {name: [] for name in names}
    both: dict[str, list[Judged]] = {name: [] for name in names}
    unread: tuple[list[Judged], list[Judged]] = ([], [])
    for name in names:
        for fold in range(FOLDS):
            kept = [n for n, r in enumerate(rows) if r.writer != name and r.fold != fold]
            tested = [r.answer for r in rows if (r.writer, r.fold, r.share) == (name, fold, 1.0)]
            alone = _judged(tested, np.zeros(len(manner.FEATURES)), -30.0)
            fitted = _judged(tested, *fit([rows[n] for n in kept], values[kept]))
            rules[name] += alone
            both[name] += fitted
            if fold == 0:
                unread[0].extend(alone)
                unread[1].extend(fitted)
    found = {name: (_agreement(rules[name]), _agreement(both[name])) for name in names}
    found["all"] = (
        _agreement([each for part in rules.values() for each in part]),
        _agreement([each for part in both.values() for each in part]),
    )
    found["all, prompts nobody read"] = (_agreement(unread[0]), _agreement(unread[1]))
    return found


def rows_of(answers: list[Labelled]) -> list[Row]:
    """What is learnt from: the labelled answers, the project's own, and some of them moved."""
    prompts = {a.request.strip(): str(a.row["prompt_id"]) for a in answers if "prompt_id" in a.row}
    rows = []
    for answer in answers:
        fold = _fold(prompts.get(answer.request.strip(), answer.request))
        refuses = answer.label != {Outcome.COMPLIED}
        rows.append(Row(answer, answer.model or "", refuses, fold, 1.0))
    for name, path in (
        ("own examples", ROOT / "tools/refusal_examples.csv"),
        ("own wordings", ROOT / "tests/judging/wordings.csv"),
    ):
        for answer in read_labelled(path):
            rows.append(_own(name, answer, answer.label != {Outcome.COMPLIED}))
    for asked, answered in load_pairs("embedded"):
        pair = Labelled(asked, answered, {}, frozenset({Outcome.COMPLIED}), None)
        rows.append(_own("own pairs", pair, refuses=False))
    return rows + _moved([row for row in rows if not row.refuses and row.writer != "own wordings"])


def _own(name: str, answer: Labelled, refuses: bool) -> Row:
    fold = 1 + _fold(answer.request) % (FOLDS - 1)  # the first is of XSTest's prompts alone
    return Row(answer, name, refuses, fold, SHARES[name])


def _moved(rows: list[Row]) -> list[Row]:
    """Help given to another prompt of the same fold: it takes up little, and refuses nothing."""
    chance, moved = random.Random(0), []
    for row in rows:
        other = chance.choice([r for r in rows if r.writer == row.writer and r.fold == row.fold])
        if other.answer.request != row.answer.request:
            pair = Labelled(other.answer.request, row.answer.response, {}, row.answer.label, None)
            moved.append(Row(pair, row.writer, False, row.fold, SHARES["moved"]))
    return moved


def _fold(prompt: str) -> int:
    return int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % FOLDS


def matrix(rows: Sequence[Row]) -> Matrix:
    """The features [N, F] of answers."""
    found = []
    for row in rows:
        asked, answered = well_formed(row.answer.request), well_formed(row.answer.response)
        found.append(manner.features(*read(asked, answered)))
    return np.array(found)


def fit(rows: Sequence[Row], values: Matrix) -> tuple[Matrix, float]:
    """The weights [F] and bias of a logistic regression on features [N, F]."""
    scale = StandardScaler().fit(values)
    model = LogisticRegression(C=STRENGTH, max_iter=2000)
    model.fit(scale.transform(values), [r.refuses for r in rows], [r.share for r in rows])
    weights = model.coef_[0] / scale.scale_
    return weights, float(model.intercept_[0] - weights @ scale.mean_)


def _judged(answers: list[Labelled], weights: Matrix, bias: float) -> list[Judged]:
    judge = RefusalJudge((weights.tolist(), bias))
    verdicts = judge.judge_all([(a.request, a.response) for a in answers])
    return [Judged(a, v) for a, v in zip(answers, verdicts, strict=True)]


def _agreement(rows: list[Judged]) -> Agreement:
    return Agreement(RefusalJudge.name, tuple(rows))


def _said(found: Agreement) -> str:
    sides = found.as_dict()["per_class"]
    f1 = " ".join(f"{sides[name]['f1'] or 0:.3f}" for name in ("full_compliance", "any_refusal"))
    rate = found.accuracy()
    return f"{rate.value:.3f} (n = {rate.n}), F1 {f1}, three-way {found.three_way() or 0:.3f}"


if __name__ == "__main__":
    typer.run(main)
