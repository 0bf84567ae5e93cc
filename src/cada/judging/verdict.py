"""What a judge says of one answer."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Outcome(StrEnum):
    """How an answer relates to its request.

    `unrelated` is an answer to something else, or garble: no harm done and no help given.
    `unscored` means that the judge failed; it is counted and shown, never turned into a verdict.
    """

    REFUSED = "refused"
    PARTIAL = "partial"
    COMPLIED = "complied"
    UNRELATED = "unrelated"
    UNSCORED = "unscored"


@dataclass(frozen=True)
class Verdict:
    """One judgement. `score` is the judge's confidence or grade in [0, 1] where it has one."""

    outcome: Outcome
    score: float | None
    reason: str
    judge: str


class Judge(Protocol):
    """Judges the final response to a request; it never sees the reasoning."""

    name: str

    def judge(self, request: str, response: str) -> Verdict:
        """The verdict on one answer."""
        ...
