"""How far the shipped offline judges agree with people: what docs/judges.md and reports say.

A test measures the figures again where the labelled data is at hand.
"""

from dataclasses import dataclass

from cada.stats import Estimate, wilson


@dataclass(frozen=True)
class Known:
    """Agreement on `n` answers that people labelled, `hits` of them judged alike."""

    hits: int
    n: int
    what: str

    @property
    def accuracy(self) -> Estimate:
        """The share judged alike, with Wilson's interval."""
        return wilson(self.hits, self.n)

    def sentence(self) -> str:
        """One sentence for a report."""
        rate = self.accuracy
        return (
            f"agrees with people on {rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%}) of "
            f"{self.n:,} {self.what}"
        )


_OF_XSTEST = (
    "answers of three models to XSTest (any refusal or none; it was made with four fifths of the "
    "prompts in view; 92.9% of a model's that was sealed until then)"
)
KNOWN = {
    "refusal-v4": Known(1303, 1350, _OF_XSTEST),
    "refusal-v4.1": Known(1303, 1350, _OF_XSTEST),
    "refusal-v4.2": Known(1303, 1350, _OF_XSTEST),
    "harm-v1": Known(255, 300, "answers under attack (JailbreakBench; goals left out in fitting)"),
}


def agreement(judge: str) -> str | None:
    """What is known of a judge by its name, also of the first one of a cascade."""
    first, *second = judge.removeprefix("cascade:").split(">")
    known = KNOWN.get(first)
    if known is None:
        return None
    return f"{first} {known.sentence()}" if second else known.sentence()
