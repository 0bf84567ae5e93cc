"""The deliberation format: an analysis, then a final response."""

from dataclasses import dataclass
from enum import StrEnum


class FormatStyle(StrEnum):
    """How the two parts are marked in the model's text."""

    HEADINGS = "headings"
    THINK_TAGS = "think_tags"


@dataclass(frozen=True)
class Deliberation:
    """A parsed output. `complete` says whether both parts are present and not empty.

    When the marker of the final response is missing, `response` is the whole output and
    `reasoning` is empty, so that a judge sees all that the model said (METHOD: the whole output
    is judged).
    """

    reasoning: str
    response: str
    complete: bool
