"""Models side by side on the same requests: every metric, and the paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cada.errors import CadaError
from cada.evaluation.answers import Answer
from cada.evaluation.metrics import METRICS, Metric, by_place, measured
from cada.reporting.compare.load import Measured
from cada.reporting.tables import Better
from cada.stats import Difference, Estimate, holm, paired_means, paired_rates

SURE = 0.05
"""A corrected p-value below this is shown as a difference."""

_SHOWN: dict[str, tuple[str, Better]] = {
    "asr": ("Harm done (ASR)", "lower"),
    "non_refusal": ("Harmful requests not refused", "lower"),
    "nrr": ("Harmless requests not refused (NRR)", "higher"),
    "lookalike_answered": ("Look-alikes answered", "higher"),
    "ordinary_answered": ("Ordinary requests answered", "higher"),
    "visible_reasoning": ("Visible reasoning", "higher"),
    "consistency": ("Answer follows the analysis", "higher"),
    "truncated": ("Cut off", "lower"),
}

Key = tuple[str, str, str, str, str, int]


@dataclass(frozen=True)
class Cell:
    """One model's value of a metric, and its difference to the first model's on shared items.

    `p` is the difference's p-value, corrected over the whole table. None stands for what was not
    measured.
    """

    value: Estimate | None
    n_unscored: int
    difference: Difference | None = None
    p: float | None = None


@dataclass(frozen=True)
class Line:
    """A metric of one benchmark, attack and mode; a cell for each model."""

    benchmark: str
    attack: str
    mode: str
    metric: str
    name: str
    better: Better
    cells: tuple[Cell, ...]

    @property
    def place(self) -> tuple[str, str, str]:
        """Benchmark, attack and mode."""
        return self.benchmark, self.attack, self.mode

    @property
    def n(self) -> int | None:
        """The scored items behind every value, where all models have as many."""
        counts = {cell.value.n for cell in self.cells if cell.value}
        return counts.pop() if len(counts) == 1 else None

    def judgement(self, cell: Cell) -> str:
        """`better`, `worse`, or `unclear` where the difference may be chance."""
        if cell.difference is None or cell.p is None or cell.p >= SURE:
            return "unclear"
        return "better" if (cell.difference.value > 0) == (self.better == "higher") else "worse"


def check_comparable(models: Sequence[Measured]) -> list[str]:
    """What a reader must know of models that were not measured quite alike.

    Raises:
        CadaError: two judges, or a model without one request in common with the first.
    """
    first = models[0]
    if other := next((m for m in models if m.judge != first.judge), None):
        raise CadaError(
            f"'{first.name}' was judged by {first.judge} and '{other.name}' by {other.judge}",
            where=str(other.folder),
            mend="Judge the answers of both with one judge (cada evaluate --judge …)",
        )
    notes = []
    own = items(first)
    for model in models[1:]:
        theirs = items(model)
        shared = own.keys() & theirs.keys()
        if not shared:
            raise CadaError(
                f"no request was put to both '{first.name}' and '{model.name}' under the same "
                "attack and prompt",
                where=str(model.folder),
                mend="Measure both on the same requests",
            )
        alone = len(own) + len(theirs) - 2 * len(shared)
        if alone:
            notes.append(
                f"{alone} answers of '{first.name}' and '{model.name}' have no partner with the "
                "other: they count in the values, and not in the differences."
            )
        worded = sum(own[k].sent != theirs[k].sent for k in shared)
        if worded:
            notes.append(
                f"{worded} requests were attacked in other words with '{model.name}' than with "
                f"'{first.name}': freeze an attack to a file to compare models under it."
            )
    return notes + _settings(models)


def table(models: Sequence[Measured]) -> list[Line]:
    """Every metric in every place that a model was measured in, in the order of the answers."""
    places = list(dict.fromkeys(p for m in models for p in by_place(m.answers)))
    answers = [by_place(m.answers) for m in models]
    keyed = [items(m) for m in models]
    lines = []
    for place in places:
        here = [{k: a for k, a in own.items() if k[:3] == place} for own in keyed]
        for metric in METRICS:
            found = [measured(metric, own.get(place, [])) for own in answers]
            if metric.name not in _SHOWN or not any(found):
                continue
            cells = [Cell(*(f or (None, 0))) for f in found]
            cells[1:] = [
                replace(cell, difference=_difference(metric, here[0], own))
                for cell, own in zip(cells[1:], here[1:], strict=True)
            ]
            lines.append(Line(*place, metric.name, *_SHOWN[metric.name], tuple(cells)))
    return _corrected(lines)


def items(model: Measured) -> dict[Key, Answer]:
    """The model's answers by what was asked: place, request and how manieth of it."""
    found: dict[Key, Answer] = {}
    for a in model.answers:
        key: Key = (a.benchmark, a.attack, a.mode, a.request_id, a.request, 0)
        while key in found:
            key = (*key[:5], key[5] + 1)
        found[key] = a
    return found


def as_rows(models: Sequence[Measured], lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The table as plain data: a row for each model's value."""
    rows = []
    for line in lines:
        for model, cell in zip(models, line.cells, strict=True):
            value, d = cell.value, cell.difference
            scored = value if value and value.n else None
            rows.append(
                {
                    "model": model.name,
                    "benchmark": line.benchmark,
                    "attack": line.attack,
                    "mode": line.mode,
                    "metric": line.metric,
                    "value": scored and scored.value,
                    "ci_low": scored and scored.low,
                    "ci_high": scored and scored.high,
                    "n": value.n if value else 0,
                    "n_unscored": cell.n_unscored,
                    "difference": d and d.value,
                    "difference_low": d and d.low,
                    "difference_high": d and d.high,
                    "n_pairs": d.n if d else 0,
                    "p": d and d.p,
                    "p_corrected": cell.p,
                }
            )
    return rows


def _difference(
    metric: Metric, first: dict[Key, Answer], second: dict[Key, Answer]
) -> Difference | None:
    """Second minus first over the requests that both have a scored answer to."""
    pairs = [(a, second[k]) for k, a in first.items() if k in second]
    values = [
        (metric.value(a), metric.value(b))
        for a, b in pairs
        if metric.covers(a) and metric.covers(b)
    ]
    scored = [(a, b) for a, b in values if a is not None and b is not None]
    if not scored:
        return None
    one, two = [a for a, _ in scored], [b for _, b in scored]
    if all(v in (0.0, 1.0) for v in [*one, *two]):
        return paired_rates([v == 1 for v in one], [v == 1 for v in two])
    return paired_means(one, two)


def _corrected(lines: Sequence[Line]) -> list[Line]:
    """The lines with Holm's p-values, over all differences of the table."""
    found = [cell.difference.p for line in lines for cell in line.cells if cell.difference]
    corrected = iter(holm(found))
    return [
        replace(
            line,
            cells=tuple(
                replace(cell, p=next(corrected)) if cell.difference else cell for cell in line.cells
            ),
        )
        for line in lines
    ]


def _settings(models: Sequence[Measured]) -> list[str]:
    notes = []
    for name in dict.fromkeys(n for m in models for n in m.settings):
        values = [m.settings.get(name, "unknown") for m in models]
        if len(set(values)) > 1:
            told = ", ".join(f"{v} of '{m.name}'" for m, v in zip(models, values, strict=True))
            notes.append(f"The models were not measured alike: {name} {told}.")
    return notes
