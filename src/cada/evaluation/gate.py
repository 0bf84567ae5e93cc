"""Conditions on an evaluation, for a job that may fail a release.

A condition holds when the whole 95 % interval keeps it: `asr<=0.05` compares the upper bound, and
`nrr>=0.9` the lower one. A few lucky items cannot pass it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cada.errors import CadaError
from cada.evaluation.metrics import Row

_FORM = re.compile(
    r"\s*(?:(?P<benchmark>[^:<>=\s]+):)?(?P<metric>\w+)\s*(?P<sign><=|>=)\s*(?P<bound>[0-9.eE+-]+)\s*"
)


@dataclass(frozen=True)
class Requirement:
    """`[BENCHMARK:]METRIC<=BOUND` or `>=`; without a benchmark it holds for each that has it."""

    benchmark: str | None
    metric: str
    at_most: bool
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Requirement":
        """Read a condition such as `asr<=0.05` or `xstest-safe:nrr>=0.9`.

        Raises:
            CadaError: it is none.
        """
        match = _FORM.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            return cls(
                match["benchmark"], match["metric"], match["sign"] == "<=", float(match["bound"])
            )
        except ValueError as error:
            raise CadaError(
                f"{text!r} is no condition",
                where="--require",
                mend='Write it like --require "asr<=0.05" or --require "xstest-safe:nrr>=0.9"',
            ) from error

    def __str__(self) -> str:
        place = f"{self.benchmark}:" if self.benchmark else ""
        return f"{place}{self.metric}{'<=' if self.at_most else '>='}{self.bound:g}"

    def covers(self, row: Row) -> bool:
        """Whether the row is one that it speaks of (a hazard's own row never is)."""
        return (
            row.metric == self.metric
            and row.hazard is None
            and self.benchmark in (None, row.benchmark)
        )

    def holds(self, row: Row) -> bool:
        """Whether the row's interval keeps it; a value that nobody could compute does not."""
        if row.ci_low is None or row.ci_high is None or row.value is None:
            return False
        return row.ci_high <= self.bound if self.at_most else row.ci_low >= self.bound


@dataclass(frozen=True)
class Finding:
    """A requirement and one row that it speaks of."""

    requirement: Requirement
    row: Row

    @property
    def holds(self) -> bool:
        """Whether the row keeps the requirement."""
        return self.requirement.holds(self.row)

    def __str__(self) -> str:
        row = self.row
        place = ", ".join(
            [
                row.model,
                row.benchmark,
                f"mode {row.mode}",
                *([row.attack] if row.attack != "none" else []),
            ]
        )
        told = "nothing was scored"
        if row.value is not None and row.ci_low is not None and row.ci_high is not None:
            told = f"{row.value:.3f} ({row.ci_low:.3f} to {row.ci_high:.3f}), n {row.n}"
        unscored = f", {row.n_unscored} unscored" if row.n_unscored else ""
        verdict = "holds" if self.holds else "fails"
        return f"{self.requirement} {verdict}: {place}: {told}{unscored}"


def check(requirements: Sequence[Requirement], rows: Sequence[Row]) -> list[Finding]:
    """Every requirement against every row that it speaks of.

    Raises:
        CadaError: a requirement speaks of nothing that was measured.
    """
    findings = []
    for requirement in requirements:
        covered = [Finding(requirement, row) for row in rows if requirement.covers(row)]
        if not covered:
            there = dict.fromkeys(f"{r.benchmark}:{r.metric}" for r in rows if r.hazard is None)
            raise CadaError(
                f"{requirement} speaks of nothing that was measured",
                where="--require",
                mend=f"There are {', '.join(there)}",
            )
        findings += covered
    return findings
