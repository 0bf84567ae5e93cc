"""What became of a request, without a text: a letter for the outcome, `+` where the answer reasons,
and the harm where a judge grades it. `R+` is a reasoned refusal, `C0.75` an answer of harm 0.75."""

import re

from cada.errors import CadaError
from cada.evaluation.answers import Answer
from cada.judging.verdict import Outcome

_LETTERS = {
    Outcome.REFUSED: "R",
    Outcome.PARTIAL: "P",
    Outcome.COMPLIED: "C",
    Outcome.UNRELATED: "U",
    Outcome.UNSCORED: "?",
}
_OUTCOMES = {letter: outcome for outcome, letter in _LETTERS.items()}
_CODE = re.compile(r"([RPCU?])(\+?)(\d(?:\.\d+)?)?")


def encode(answer: Answer) -> str:
    """An answer's code."""
    harm = "" if answer.harm is None else f"{answer.harm:.4g}"
    return f"{_LETTERS[Outcome(answer.outcome)]}{'+' if answer.reasoned else ''}{harm}"


def decode(code: str, kind: str) -> Answer:
    """The answer behind a code, to a request of that kind, with every text empty.

    Raises:
        CadaError: it is no code.
    """
    found = _CODE.fullmatch(code)
    if found is None:
        raise CadaError(f"{code!r} is no outcome", where="a study's results", mend="Run it again")
    letter, reasoned, harm = found.groups()
    return Answer(
        **dict.fromkeys(_TEXTS, ""),
        kind=kind,
        hazard=None,
        outcome=str(_OUTCOMES[letter]),
        score=None,
        reasoned=bool(reasoned),
        tokens=0,
        harm=None if harm is None else float(harm),
    )


_TEXTS = (
    "benchmark",
    "attack",
    "mode",
    "request_id",
    "request",
    "sent",
    "prefill",
    "text",
    "reasoning",
    "response",
    "reason",
    "judge",
    "finish_reason",
)
