"""Answers that somebody stored, with or without grades, as judged answers.

Known columns, each under its own name or one that `columns` maps it to:

| column | holds |
|---|---|
| `request` | the plain request (also `prompt`, `goal`, `question`, `forbidden_prompt`) |
| `response` | what the model wrote (also `answer`, `completion`, `output`, `generation`, …) |
| `harmful` or `kind` | whether the request is harmful; else the caller says so for all |
| `refusal`, `convincingness`, `specificity` | StrongREJECT's grades (0/1, 1 to 5, 1 to 5) |
| `outcome`, `harm` | a verdict: an outcome's name, and the harm done from 0 to 1 |
| `model`, `benchmark`, `attack`, `mode`, `hazard`, `request_id` | for the tables |

Where an answer holds a deliberation, its final response alone is judged.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cada.attacks.types import NO_ATTACK
from cada.errors import CadaError
from cada.evaluation.answers import KINDS, Answer
from cada.judging.rubric import GRADES, strongreject_verdict
from cada.judging.text import well_formed
from cada.judging.verdict import Judge, Outcome, Verdict
from cada.prompting.deliberation import FormatStyle, parse
from cada.requests.tables import Table, read_file
from cada.requests.types import Request
from cada.reward import visibly_reasoned

_ALIASES = {
    "request": ("prompt", "goal", "question", "forbidden_prompt"),
    "response": ("answer", "completion", "output", "generation", "target_response"),
}
_PARTS = (
    "request",
    "response",
    "harmful",
    "kind",
    *GRADES,
    "outcome",
    "harm",
    "score",
    "reason",
    "model",
    "benchmark",
    "attack",
    "mode",
    "hazard",
    "request_id",
    "reasoning",
    "judge",
    "finish_reason",
)
_YES = {"true", "1", "1.0", "yes", "harmful", "unsafe"}
_NO = {"false", "0", "0.0", "no", "harmless", "safe", "benign"}
_STORED = "stored"


@dataclass(frozen=True)
class Stored:
    """The answers of each model in a file.

    `judged`: the file says how each answer was judged; else every outcome is still `unscored`.
    """

    answers: dict[str, list[Answer]]
    judged: bool


def read_stored(
    path: Path,
    columns: Mapping[str, str] | None = None,
    harmful: bool | None = None,
    style: FormatStyle = FormatStyle.HEADINGS,
) -> Stored:
    """The answers in a csv, jsonl, json or parquet file.

    Args:
        path: the file.
        columns: part → its column, where the names differ.
        harmful: whether the requests are harmful, where no column says so.
        style: how the answers mark their analysis.

    Raises:
        CadaError: no such file or columns, no rows, or a cell that cannot be read. A grade that is
            missing or out of range is no error: it makes the answer `unscored`.
    """
    table = read_file(path)
    named = _columns(table, columns or {})
    rows = table.fetch(table.columns)
    if not rows:
        raise CadaError("no rows", where=table.name, mend="Give a file with at least one answer")
    if harmful is None and not {"harmful", "kind"} & named.keys():
        raise CadaError(
            "nothing says whether the requests are harmful",
            where=table.name,
            mend="Name the column with --columns harmful=NAME, or give --harmful yes or no",
        )
    graded = all(name in named for name in GRADES)
    models: dict[str, list[Answer]] = {}
    for number, row in rows:
        given = {part: row[column] for part, column in named.items()}
        reader = _Reader(table.at(number), given, path.stem)
        models.setdefault(reader.text("model", path.stem), []).append(
            reader.answer(harmful, style, graded=graded)
        )
    kept = {model: _asked_again(answers) for model, answers in models.items()}
    return Stored(kept, graded or "outcome" in named)


def judge_stored(answers: Sequence[Answer], judge: Judge) -> list[Answer]:
    """The answers with the verdicts of this judge in place of those they had."""
    verdicts = judge.judge_all([(a.request, a.response) for a in answers])
    return [
        replace(
            a,
            outcome=str(v.outcome),
            score=v.score,
            harm=v.score if judge.scores_harm else None,
            reason=v.reason,
            judge=v.judge,
        )
        for a, v in zip(answers, verdicts, strict=True)
    ]


def _asked_again(answers: Sequence[Answer]) -> list[Answer]:
    """Without the failures that were asked for once more: an evaluation writes both."""
    last = {_key(a): place for place, a in enumerate(answers)}
    return [a for i, a in enumerate(answers) if a.finish_reason != "error" or last[_key(a)] == i]


def _key(a: Answer) -> tuple[str, str, str, str, str]:
    return a.benchmark, a.attack, a.mode, a.request_id, a.request


def _columns(table: Table, given: Mapping[str, str]) -> dict[str, str]:
    """Part → column."""
    for part, column in given.items():
        if part not in _PARTS:
            raise CadaError(
                f"unknown part '{part}'", where="--columns", mend=f"Known are {', '.join(_PARTS)}"
            )
        if column not in table.columns:
            raise CadaError(
                f"no column '{column}'; its columns are {', '.join(table.columns)}",
                where=table.name,
                mend=f"Name another with --columns {part}=NAME",
            )
    named = {part: part for part in _PARTS if part in table.columns} | dict(given)
    for part, others in _ALIASES.items():
        if part not in named:
            known = next((name for name in others if name in table.columns), None)
            if known is None:
                raise CadaError(
                    f"no column holds the {part}; its columns are {', '.join(table.columns)}",
                    where=table.name,
                    mend=f"Name it with --columns {part}=NAME",
                )
            named[part] = known
    return named


class _Reader:
    """Reads one row."""

    def __init__(self, at: str, given: Mapping[str, Any], benchmark: str) -> None:
        self.at = at
        self.given = given
        self.benchmark = benchmark

    def answer(self, harmful: bool | None, style: FormatStyle, *, graded: bool) -> Answer:
        said = self._whole("response")
        parts = parse(said, style)
        if self.text("reasoning", ""):  # the answer was already read apart
            parts = replace(parts, reasoning=self.text("reasoning", ""), response=said)
            parts = replace(parts, complete=bool(said))
        kind = self._kind(harmful)
        hazard = self.text("hazard", "") or None
        text = self._whole("request")
        request = Request("", text, kind == "harmful", hazard, self.benchmark)
        verdict = self._grades() if graded else self._verdict()
        harm = verdict.score if graded else _number(self.given.get("harm"))
        return Answer(
            benchmark=self.text("benchmark", self.benchmark),
            attack=self.text("attack", NO_ATTACK),
            mode=self.text("mode", "none"),
            request_id=self.text("request_id", self.at.rpartition(" ")[2]),
            kind=kind,
            hazard=hazard,
            request=text,
            sent=text,
            prefill="",
            text=said,
            reasoning=parts.reasoning,
            response=parts.response,
            outcome=str(verdict.outcome),
            score=verdict.score,
            reason=verdict.reason,
            judge=verdict.judge,
            reasoned=visibly_reasoned(request, parts),
            tokens=0,
            finish_reason=self.text("finish_reason", "stop"),
            harm=None if verdict.outcome is Outcome.UNSCORED else harm,
        )

    def text(self, part: str, default: str) -> str:
        value = self.given.get(part)
        return default if value is None or str(value).strip() == "" else str(value).strip()

    def _whole(self, part: str) -> str:
        value = self.given[part]
        if not isinstance(value, str):
            raise CadaError(
                f"the {part} {value!r} is no text",
                where=self.at,
                mend="Give text, or the empty text where the model said nothing",
            )
        return well_formed(value)

    def _kind(self, harmful: bool | None) -> str:
        kind = self.text("kind", "")
        if kind in KINDS:
            return kind
        word = (kind or self.text("harmful", "")).casefold()
        if word in _YES | _NO:
            harmful = word in _YES
        elif word or harmful is None:
            raise CadaError(
                f"{word!r} does not say whether the request is harmful",
                where=self.at,
                mend="Write true or false in `harmful`, or harmful, lookalike or ordinary in "
                "`kind`",
            )
        if harmful:
            return "harmful"
        return "lookalike" if self.text("hazard", "") else "ordinary"

    def _grades(self) -> Verdict:
        name = self.text("judge", f"{_STORED}:strongreject")
        grades: dict[str, int] = {}
        for grade, (low, high) in GRADES.items():
            value = _whole_number(self.given[grade])
            if value is None and grade != "refusal" and grades.get("refusal") == 1:
                value = low  # of a refusal the rubric needs no more
            if value is None or not low <= value <= high:
                reason = f"the stored {grade} {self.given[grade]!r} is no grade"
                return Verdict(Outcome.UNSCORED, None, reason, name)
            grades[grade] = value
        return strongreject_verdict(grades, name)

    def _verdict(self) -> Verdict:
        name = self.text("judge", _STORED)
        outcome = self.text("outcome", "").casefold()
        if not outcome:
            return Verdict(Outcome.UNSCORED, None, "no verdict is stored", name)
        if outcome not in set(Outcome):
            raise CadaError(
                f"unknown outcome {outcome!r}",
                where=self.at,
                mend=f"Known are {', '.join(Outcome)}",
            )
        for grade in ("harm", "score"):
            value = _number(self.given.get(grade))
            if value is not None and not 0 <= value <= 1:
                reason = f"the stored {grade} {self.given[grade]!r} is not in 0 to 1"
                return Verdict(Outcome.UNSCORED, None, reason, name)
        score = _number(self.given.get("score"))
        return Verdict(Outcome(outcome), score, self.text("reason", ""), name)


def _number(value: object) -> float | None:
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _whole_number(value: object) -> int | None:
    found = _number(value)
    return int(found) if found is not None and found.is_integer() else None
