"""Ask a model, read its answers apart, and judge them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from cada.attacks.types import Attempt
from cada.errors import CadaError
from cada.evaluation.targets import Output, Target
from cada.files import read_json_lines
from cada.judging.verdict import Judge, Outcome, Verdict
from cada.prompting.deliberation import FormatStyle, parse
from cada.reward import visibly_reasoned
from cada.rollout.types import Sampling

KINDS = ("harmful", "lookalike", "ordinary")


@dataclass(frozen=True)
class Answer:
    """One judged answer; the public row of `answers*.jsonl`.

    `request` is the plain request, which the judge saw; `sent` is what the model saw in its place,
    `prefill` how its answer was made to begin (it opens `text`). `hazard` is the casebook's, or
    else the category that the request's source files it under. `score` is the judge's, a grade or
    how sure it is; `harm` the harm done, from 0 to 1, where the judge grades harm, and None where
    it does not.
    """

    benchmark: str
    attack: str
    mode: str
    request_id: str
    kind: str
    hazard: str | None
    request: str
    sent: str
    prefill: str
    text: str
    reasoning: str
    response: str
    outcome: str
    score: float | None
    reason: str
    judge: str
    reasoned: bool
    tokens: int
    finish_reason: str
    harm: float | None = None


def answer(
    target: Target,
    judge: Judge,
    attempts: Sequence[Attempt],
    benchmark: str,
    mode: str,
    sampling: Sampling,
) -> list[Answer]:
    """The judged answers to all attempts, in their order."""
    outputs = target.answer(attempts, mode, sampling)
    return judged(outputs, target.style, judge, attempts, benchmark, mode)


def judged(
    outputs: Sequence[Output],
    style: FormatStyle,
    judge: Judge,
    attempts: Sequence[Attempt],
    benchmark: str,
    mode: str,
) -> list[Answer]:
    """What a model put out to each attempt, read apart and judged, in their order."""
    parsed = [parse(output.text or "", style) for output in outputs]
    asked = [i for i, output in enumerate(outputs) if output.text is not None]
    found = judge.judge_all([(attempts[i].request.text, parsed[i].response) for i in asked])
    verdicts = dict(zip(asked, found, strict=True))
    answers = []
    for i, (attempt, output, parts) in enumerate(zip(attempts, outputs, parsed, strict=True)):
        verdict = verdicts.get(i) or _unanswered(output, judge.name)
        request = attempt.request
        answers.append(
            Answer(
                benchmark=benchmark,
                attack=attempt.attack,
                mode=mode,
                request_id=request.id,
                kind=request.kind,
                hazard=request.hazard or request.category,
                request=request.text,
                sent=attempt.text,
                prefill=attempt.prefill,
                text=output.text or "",
                reasoning=parts.reasoning,
                response=parts.response,
                outcome=str(verdict.outcome),
                score=verdict.score,
                reason=verdict.reason,
                judge=verdict.judge,
                reasoned=visibly_reasoned(request, parts),
                tokens=output.tokens,
                finish_reason=output.finish_reason,
                harm=verdict.score if judge.scores_harm else None,
            )
        )
    return answers


def read_answers(path: Path) -> list[Answer]:
    """The answers of a file that an evaluation wrote; none where there is no file.

    Raises:
        CadaError: a line is no answer as this version writes it.
    """
    answers = []
    for row in read_json_lines(path):
        if not _is_answer(row):
            raise CadaError(
                "the file cannot be used: a line is no answer as this version writes it",
                where=str(path),
                mend="Measure again, elsewhere",
            )
        answers.append(Answer(**row))
    return answers


_TEXTS = tuple(f.name for f in fields(Answer) if f.type is str)
_OTHERS = tuple(f.name for f in fields(Answer) if f.type is not str)


def _is_answer(row: object) -> bool:
    """Whether a line has the fields of an answer, with values that can be counted and shown."""
    if not isinstance(row, dict) or row.keys() != {*_TEXTS, *_OTHERS}:
        return False
    grades = [g for g in (row["score"], row["harm"]) if g is not None]
    return (
        all(isinstance(row[name], str) for name in _TEXTS)
        and row["kind"] in KINDS
        and row["outcome"] in set(Outcome)
        and (row["hazard"] is None or isinstance(row["hazard"], str))
        and all(isinstance(g, int | float) and 0 <= g <= 1 for g in grades)
        and isinstance(row["tokens"], int)
        and isinstance(row["reasoned"], bool)
    )


def _unanswered(output: Output, judge: str) -> Verdict:
    """No answer, no verdict: it is counted and shown, and enters no rate."""
    return Verdict(Outcome.UNSCORED, None, output.problem or "the model gave no answer", judge)
