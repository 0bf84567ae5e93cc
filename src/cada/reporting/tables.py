"""The before/after table: paired rows, for the terminal, Markdown and the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Literal

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cada.stats import Estimate

HARMFUL, LOOKALIKE, ORDINARY = "harmful_refused", "lookalike_answered", "ordinary_answered"
REASONING, DISTINCT, TRUNCATED = "visible_reasoning", "distinct_benign_answers", "truncated"
CANARY, OPENING = "canary_loss", "canary_opening"

Better = Literal["higher", "lower", "neither"]

_METRICS: dict[str, tuple[str, Better]] = {
    HARMFUL: ("Harmful requests refused", "higher"),
    LOOKALIKE: ("Look-alikes answered", "higher"),
    ORDINARY: ("Ordinary requests answered", "higher"),
    REASONING: ("Visible reasoning", "higher"),
    DISTINCT: ("Benign answers distinct", "higher"),
    TRUNCATED: ("Cut off", "lower"),
    CANARY: ("Canary loss (nats/token)", "lower"),
    OPENING: ("Canary loss, first token (nats)", "neither"),
}
_NATS = (CANARY, OPENING)
_ELSEWHERE = ("asr", "non_refusal", "nrr", "consistency")
_MODES = {
    "none": "bare request",
    "minimal": "short code",
    "codes": "long code",
    "category_codes": "the hazard's code",
    "cases": "code and cases",
}


@dataclass(frozen=True)
class ComparisonRow:
    """One metric before and after training; None where a side was not measured.

    Rates lie in [0, 1]; the canary's losses are in nats. `n_unscored` counts answers that the
    judge failed on, both sides together.
    """

    benchmark: str
    mode: str
    metric: str
    name: str
    better: Better
    before: Estimate | None
    after: Estimate | None
    n_unscored: int

    @property
    def old(self) -> float:
        """The value before; NaN when it is missing."""
        return self.before.value if self.before else nan

    @property
    def new(self) -> float:
        """The value after; NaN when it is missing."""
        return self.after.value if self.after else nan

    @property
    def change(self) -> float:
        """After minus before; NaN when a side is missing."""
        return self.new - self.old

    @property
    def apart(self) -> bool:
        """Whether the two intervals do not overlap: a change that chance hardly explains."""
        if not self.before or not self.after:
            return False
        return self.before.high < self.after.low or self.after.high < self.before.low

    @property
    def judgement(self) -> Literal["better", "worse", "unclear"]:
        """Whether the change is for the better, as far as the intervals can tell."""
        if self.better == "neither" or not self.apart:
            return "unclear"
        return "better" if (self.change > 0) == (self.better == "higher") else "worse"

    @property
    def n(self) -> str:
        """The items behind the values: one number, or before / after where they differ."""
        counts = [str(e.n) for e in (self.before, self.after) if e]
        return counts[0] if len(set(counts)) == 1 else " / ".join(counts)

    def show(self, estimate: Estimate | None) -> str:
        """A value of this row in words: `88 %` or `2.31`."""
        if estimate is None:
            return "–"
        return f"{estimate.value:.2f}" if self.metric in _NATS else percent(estimate.value)

    def show_interval(self, estimate: Estimate | None) -> str:
        """The value's 95 % interval: `80–93`, in the value's unit; empty when it has none."""
        if estimate is None:
            return ""
        if self.metric in _NATS:
            return f"{estimate.low:.2f}–{estimate.high:.2f}"
        return f"{100 * estimate.low:.0f}–{100 * estimate.high:.0f}"

    def show_change(self) -> str:
        """The change with its sign: points for rates, nats for losses."""
        if self.before is None or self.after is None:
            return "–"
        if self.metric in _NATS:
            return signed(self.change, 2)
        return signed(100 * self.change, 0)


def comparison(rows: Sequence[Mapping[str, Any]]) -> list[ComparisonRow]:
    """Pair `before` with `after` for each benchmark, mode and metric.

    Benchmarks and modes keep the order of the rows, except that the canary comes last; the
    metrics of a benchmark come in the order of what matters most. Rows of other models, of one
    hazard alone, and of the metrics that `cada compare` shows in place of these are left out.
    """
    sides: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        chosen = row["metric"] not in _ELSEWHERE and row.get("hazard") is None
        if row["model"] in ("before", "after") and chosen:
            key = (_benchmark(row), str(row["mode"]), str(row["metric"]))
            sides.setdefault(key, {})[row["model"]] = row
    places: dict[tuple[str, str], int] = {}
    for benchmark, mode, _ in sides:
        places.setdefault((benchmark, mode), len(places))
    known = list(_METRICS)

    def order(key: tuple[str, str, str]) -> tuple[bool, int, int, str]:
        benchmark, mode, metric = key
        rank = known.index(metric) if metric in known else len(known)
        return metric in _NATS, places[benchmark, mode], rank, metric

    return [_row(key, sides[key]) for key in sorted(sides, key=order)]


def find(
    table: Sequence[ComparisonRow], metric: str, mode: str, benchmark: str | None = None
) -> list[ComparisonRow]:
    """The rows of a metric that have both sides."""
    return [
        r
        for r in table
        if (r.metric, r.mode) == (metric, mode)
        and benchmark in (None, r.benchmark)
        and r.before
        and r.after
    ]


def rich_table(table: Sequence[ComparisonRow]) -> Table:
    """The comparison for a terminal."""
    shown = Table(title="Before and after, with 95 % intervals", title_justify="left", box=SIMPLE)
    shown.add_column("")
    for name in ("before", "after", "change", "n"):
        shown.add_column(name, justify="right", no_wrap=True)
    colours = {"better": "green", "worse": "red", "unclear": "default"}
    place: tuple[str, str] | None = None
    for row in table:
        if place != (row.benchmark, row.mode):
            place = (row.benchmark, row.mode)
            shown.add_section()
            shown.add_row(f"[bold]{escape(row.benchmark)}, {escape(mode_name(row.mode))}[/]")
        shown.add_row(
            row.name,
            _with_interval(row, row.before),
            _with_interval(row, row.after),
            Text(row.show_change(), style=colours[row.judgement]),
            row.n,
        )
    return shown


def markdown_table(table: Sequence[ComparisonRow]) -> str:
    """The comparison as a Markdown table, with a line break at its end."""
    lines = [
        "| set | prompt | metric | before (95 % interval) | after (95 % interval) | change | n |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for row in table:
        cells = [
            row.benchmark.replace("|", "\\|"),
            mode_name(row.mode),
            row.name,
            *(_with_interval(row, e) for e in (row.before, row.after)),
            row.show_change(),
            row.n,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def mode_name(mode: str) -> str:
    """What a prompt mode puts before the request, in words."""
    return _MODES.get(mode, mode)


def percent(share: float) -> str:
    """A share as a whole percentage: `88 %`."""
    return f"{100 * share:.0f} %"


def signed(value: float, digits: int) -> str:
    """A number with its sign, a true minus, and no negative zero."""
    rounded = round(value, digits) + 0.0
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else "0"


def _row(key: tuple[str, str, str], sides: Mapping[str, Mapping[str, Any]]) -> ComparisonRow:
    benchmark, mode, metric = key
    plain: tuple[str, Better] = (metric.replace("_", " ").capitalize(), "neither")
    name, better = _METRICS.get(metric, plain)
    before, after = (_estimate(sides.get(side)) for side in ("before", "after"))
    unscored = sum(int(row.get("n_unscored") or 0) for row in sides.values())
    return ComparisonRow(benchmark, mode, metric, name, better, before, after, unscored)


def _estimate(row: Mapping[str, Any] | None) -> Estimate | None:
    if row is None or row["value"] is None:
        return None
    value = float(row["value"])
    low, high = (value if row[k] is None else float(row[k]) for k in ("ci_low", "ci_high"))
    return Estimate(value, low, high, int(row["n"]))


def _benchmark(row: Mapping[str, Any]) -> str:
    attack = row.get("attack") or "none"
    return str(row["benchmark"]) if attack == "none" else f"{row['benchmark']} + {attack}"


def _with_interval(row: ComparisonRow, estimate: Estimate | None) -> str:
    interval = row.show_interval(estimate)
    return f"{row.show(estimate)} ({interval})" if interval else row.show(estimate)
