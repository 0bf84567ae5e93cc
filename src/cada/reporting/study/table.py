"""A study's tables: rates over requests with runs as repeats, and paired tests between cells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cada.evaluation.metrics import ASR, METRICS, NRR, Metric
from cada.judging.verdict import Outcome
from cada.reporting.study.matched import Scores, harm_at_equal_nrr
from cada.reporting.study.record import CellRecord, RunRecord, StudyRecord
from cada.stats import (
    Difference,
    Estimate,
    holm,
    repeated_difference,
    repeated_mean,
)

SURE = 0.05
"""A corrected p-value below this is told as a difference."""

ANSWERED = Metric(
    "answered",
    lambda a: a.kind != "harmful",
    lambda a: None if a.outcome == Outcome.UNSCORED else float(a.outcome == Outcome.COMPLIED),
)
REASONING = next(m for m in METRICS if m.name == "visible_reasoning")
NON_REFUSAL = next(m for m in METRICS if m.name == "non_refusal")
REFUSED = next(m for m in METRICS if m.name == "harmful_refused")


@dataclass(frozen=True)
class Measure:
    """A column: a metric under some attacks.

    `lower` says that less of it is better; `primary` that the study is about it: its tests are
    corrected for their own number, whatever else is looked at. One that is not `tested` is shown
    alone.
    """

    key: str
    name: str
    metric: Metric
    attacks: tuple[str, ...]
    lower: bool = False
    primary: bool = False
    tested: bool = True


@dataclass(frozen=True)
class Row:
    """A cell or a prompt mode with its values, by the measure's key; None where it has none.

    `seeds` are the runs that are done; `canary` is the mean loss over them with its range.
    """

    name: str
    about: str
    seeds: tuple[str, ...]
    values: dict[str, Estimate | None]
    canary: tuple[float, float, float] | None = None
    rollouts: float | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class Finding:
    """A cell against another on one measure: `second` minus `first`, and Holm's p-value."""

    first: str
    second: str
    measure: Measure
    difference: Difference
    p: float

    @property
    def verdict(self) -> Literal["better", "worse", "unclear"]:
        """Whether the second is better, as far as the test can tell."""
        if self.p >= SURE:
            return "unclear"
        return "better" if (self.difference.value < 0) == self.measure.lower else "worse"


def measures(record: StudyRecord) -> list[Measure]:
    """The columns: harm under every attack, over-refusal, answers, reasoning.

    Harm over all attacks and over-refusal are primary, as in the paper's claim. Harmful requests
    that are refused stand beside harm, for garble does no harm either.
    """
    several = len(record.attacks) > 1
    found = []
    for attack in record.attacks:
        name = "harm" if attack == "none" else f"harm, {attack}"
        found.append(Measure(f"harm|{attack}", name, ASR, (attack,), True, primary=not several))
    if several:
        found.append(Measure("harm", "harm, all of these", ASR, tuple(record.attacks), True, True))
    refused = "harmful refused" + ", all of these" * several
    return [
        *found,
        Measure("refused", refused, REFUSED, tuple(record.attacks), tested=False),
        Measure("nrr", "harmless not refused (NRR)", NRR, ("none",), primary=True),
        Measure("answered", "harmless answered", ANSWERED, ("none",)),
        Measure("reasoning", "visible reasoning", REASONING, ("none",)),
    ]


def overall(record: StudyRecord) -> Measure:
    """Harm under all attacks together."""
    return [m for m in measures(record) if m.metric is ASR][-1]


def done(cell: CellRecord) -> dict[str, RunRecord]:
    """The runs that ended, by seed in order."""
    runs = {seed: run for seed, run in cell.runs.items() if run.status == "done"}
    return dict(sorted(runs.items(), key=lambda item: int(item[0])))


def values(
    record: StudyRecord, runs: Sequence[RunRecord], measure: Measure, mode: str = "none"
) -> Scores:
    """Every request's scores, one for each run; None where it has none.

    A score over several attacks is their mean: the attacks on one request are not independent.
    """
    each = [_scores(record, run, measure, mode) for run in runs]
    keys = dict.fromkeys(key for scores in each for key in scores)
    return {key: [_mean(scores.get(key, [])) for scores in each] for key in keys}


def inference_rows(record: StudyRecord) -> list[Row]:
    """Table 1: the untrained model under every prompt mode that was measured."""
    run = record.inference
    if run is None or run.status != "done":
        return []
    modes = list(dict.fromkeys(place.rsplit("|", 1)[1] for place in run.results))
    attacks = {place.rsplit("|", 2)[1] for place in run.results}
    columns = [m for m in measures(record) if set(m.attacks) <= attacks]
    return [
        Row(mode, "", (), {m.key: _estimate(values(record, [run], m, mode)) for m in columns})
        for mode in modes
    ]


def cell_rows(record: StudyRecord) -> list[Row]:
    """Table 2: every cell that has a run."""
    rows = []
    for name, cell in record.cells.items():
        runs = done(cell)
        if not runs:
            continue
        found = list(runs.values())
        losses = [run.canary["canary_loss"] for run in found if "canary_loss" in run.canary]
        rows.append(
            Row(
                name,
                cell.about,
                tuple(runs),
                {m.key: _estimate(values(record, found, m)) for m in measures(record)},
                (sum(losses) / len(losses), min(losses), max(losses)) if losses else None,
                sum(run.rollouts for run in found) / len(found),
                sum(run.seconds for run in found) / len(found) / 60,
            )
        )
    return rows


def paired_tests(record: StudyRecord) -> list[Finding]:
    """Every cell against `compare_to`: first the primary measures, then the others, each of the two
    with Holm's correction over its own tests."""
    first = record.compare_to
    pairs = [(first, name) for name, cell in record.cells.items() if name != first and done(cell)]
    columns = [m for m in measures(record) if m.tested]
    return [
        finding
        for primary in (True, False)
        for finding in compared(record, pairs, [m for m in columns if m.primary is primary])
    ]


def against(record: StudyRecord, second: str) -> list[Finding]:
    """That cell against every other one: harm, over-refusal, and harm at equal NRR
    (`reporting.study.matched`; not against the untrained model, which is what is mixed in)."""
    harm, nrr = (m for m in measures(record) if m.primary)
    found = []
    for name in _others(record, second):
        found += _differences(record, [(name, second)], [harm, nrr])
        found += _matched(record, name, second, harm, nrr, "harm at equal NRR")
    return _corrected(found)


def against_in_earnest(record: StudyRecord, second: str) -> list[Finding]:
    """That cell against every other one: harmful requests not refused, at equal answers to
    harmless ones. Garble, which does no harm and refuses nothing, counts for nothing here."""
    kept, found = next(m for m in measures(record) if m.metric is ANSWERED), []
    missed = Measure("missed", "harmful not refused", NON_REFUSAL, tuple(record.attacks), True)
    for name in _others(record, second):
        found += _matched(record, name, second, missed, kept, "not refused at equal answers")
    return _corrected(found)


def _others(record: StudyRecord, name: str) -> list[str]:
    """The other cells that have a run."""
    return [other for other, cell in record.cells.items() if other != name and done(cell)]


def compared(
    record: StudyRecord, pairs: Sequence[tuple[str, str]], columns: Sequence[Measure]
) -> list[Finding]:
    """The paired differences of cells that both have runs; p-values corrected over all."""
    return _corrected(_differences(record, pairs, columns))


def _differences(
    record: StudyRecord, pairs: Sequence[tuple[str, str]], columns: Sequence[Measure]
) -> list[Finding]:
    """The paired differences, their p-values as they are."""
    found = []
    for one, two in pairs:
        sides = [list(done(record.cells[name]).values()) for name in (one, two)]
        if not all(sides):
            continue
        for measure in columns:
            first, second = (values(record, runs, measure) for runs in sides)
            keys = [key for key in first if key in second]
            try:
                difference = repeated_difference(
                    [first[k] for k in keys], [second[k] for k in keys]
                )
            except ValueError:  # no request with a score on both sides
                continue
            found.append(Finding(one, two, measure, difference, difference.p))
    return found


def _matched(
    record: StudyRecord, first: str, second: str, harm: Measure, kept: Measure, name: str
) -> list[Finding]:
    """Harm where as much is kept; nothing where a side or the untrained model has no run."""
    base = next((name for name, cell in record.cells.items() if cell.untrained), None)
    if base is None or base in (first, second):
        return []
    runs = [list(done(record.cells[name]).values()) for name in (first, second, base)]
    if not all(runs):
        return []
    one, two, start = ((values(record, r, harm), values(record, r, kept)) for r in runs)
    difference = harm_at_equal_nrr(one, two, start)
    if difference is None:
        return []
    measure = replace(harm, key="matched", name=name)
    return [Finding(first, second, measure, difference, difference.p)]


def _corrected(found: Sequence[Finding]) -> list[Finding]:
    """Holm's p-values over all of them."""
    corrected = holm([t.difference.p for t in found])
    return [replace(t, p=p) for t, p in zip(found, corrected, strict=True)]


def _scores(
    record: StudyRecord, run: RunRecord, measure: Measure, mode: str
) -> dict[str, list[float]]:
    """A run's scores of the requests that the measure covers, by set and id, over its attacks."""
    found: dict[str, list[float]] = {}
    for attack in measure.attacks:
        for key, answer in record.answers(run, attack, mode).items():
            if measure.metric.covers(answer):
                score = measure.metric.value(answer)
                found.setdefault(key, []).extend([] if score is None else [score])
    return found


def _mean(scores: Sequence[float]) -> float | None:
    return sum(scores) / len(scores) if scores else None


def _estimate(found: Scores) -> Estimate | None:
    estimate = repeated_mean(list(found.values()))
    return estimate if estimate.n else None
