"""A study as Markdown: its tables, and a page of conclusions that its numbers write."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cada.files import write_text
from cada.reporting.compare.text import show, show_p
from cada.reporting.study.picture import Point, svg
from cada.reporting.study.record import CellRecord, StudyRecord
from cada.reporting.study.table import (
    Finding,
    Measure,
    Row,
    against,
    against_in_earnest,
    cell_rows,
    compared,
    done,
    inference_rows,
    measures,
    overall,
    paired_tests,
)
from cada.reporting.tables import mode_name, signed
from cada.stats import Estimate

TABLES, CONCLUSIONS, PICTURE = "tables.md", "conclusions.md", "tradeoff.svg"


def write_pages(record: StudyRecord, folder: Path) -> list[Path]:
    """Write the tables, the conclusions and the picture; the same record gives the same bytes."""
    pages = {TABLES: tables(record), CONCLUSIONS: conclusions(record), PICTURE: picture(record)}
    for name, text in pages.items():
        write_text(folder / name, text)
    return [folder / name for name in pages]


def picture(record: StudyRecord) -> str:
    """The trade-off of every cell that has a run."""
    harm = overall(record).key
    points = []
    for row in cell_rows(record):
        nrr, done_harm = row.values["nrr"], row.values[harm]
        if nrr and done_harm:
            points.append(Point(row.name, _opposite(nrr), done_harm))
    return svg(points)


def tables(record: StudyRecord) -> str:
    """Tables 1 and 2, the paired tests, what was selected, and what was not run."""
    columns = measures(record)
    parts = [f"# {_plain(record.name)}: tables\n", _how(record)]
    if rows := inference_rows(record):
        parts += ["## Table 1: the untrained model under the prompt modes\n",
                  _table1(rows, columns)]  # fmt: skip
    if cells := cell_rows(record):
        parts += ["## Table 2: training\n", _table2(record, cells, columns)]
    if found := paired_tests(record):
        parts += [f"## Against {_plain(record.compare_to)}\n", _tests(found)]
    for part in (_selected(record), _missing(record)):
        if part:
            parts.append(part)
    return "\n".join(parts)


def conclusions(record: StudyRecord) -> str:
    """One page, written from the numbers alone."""
    rows = {row.name: row for row in cell_rows(record)}
    parts = [f"# {_plain(record.name)}: conclusions\n"]
    if not rows:
        return "\n".join([*parts, "No cell has a run yet.\n"])
    parts.append(_scope(record, rows))
    parts += [_ablation(record, a.question, a.with_it, a.without) for a in record.ablations]
    parts.append(_compared(record))
    parts.append(_frontier(record, rows))
    if record.recommended and record.recommended in rows:
        parts.append(_recommended(record, rows, record.recommended))
    return "\n".join(part for part in parts if part)


def _how(record: StudyRecord) -> str:
    sets = {name: s for name, s in record.sets.items() if not name.startswith("validation/")}
    asked = "; ".join(
        f"{_plain(name)} ({sum(k == 'harmful' for k in s.kinds.values())} harmful, "
        f"{sum(k != 'harmful' for k in s.kinds.values())} harmless)"
        for name, s in sets.items()
    )
    judges = sorted({run.judge for cell in record.cells.values() for run in done(cell).values()})
    budget = f" Every cell draws {record.budget} requests in training, unless said." * bool(
        record.budget
    )
    return (
        f"Sets: {asked}. Judge: {', '.join(judges) or 'none yet'}.{budget} Values are per cent "
        "with 95 % intervals. Those of Table 2 allow for other requests and for other seeds "
        "(`cada.stats.repeated_mean`); with one run, for other requests alone.\n"
    )


def _table1(rows: Sequence[Row], columns: Sequence[Measure]) -> str:
    shown = [m for m in columns if any(m.key in row.values for row in rows)]
    head = ["prompt mode", *(m.name for m in shown), "n harmful", "n harmless", "n reasoning"]
    lines = [
        [f"{row.name} ({mode_name(row.name)})", *(show(row.values[m.key]) for m in shown),
         *_counts(row, columns)]
        for row in rows
    ]  # fmt: skip
    return _markdown(head, lines)


def _table2(record: StudyRecord, rows: Sequence[Row], columns: Sequence[Measure]) -> str:
    head = ["cell", "runs", *(m.name for m in columns), "canary loss (range)", "rollouts",
            "minutes", "n harmful", "n harmless", "n reasoning"]  # fmt: skip
    lines = []
    for row in rows:
        cell = record.cells[row.name]
        wanted = 1 if cell.untrained else len(record.seeds)
        canary = "–"
        if row.canary:
            mean, low, high = row.canary
            canary = f"{mean:.2f} ({low:.2f}–{high:.2f})" if low != high else f"{mean:.2f}"
        lines.append(
            [
                f"{row.name}{': ' if row.about else ''}{row.about}",
                f"{len(row.seeds)} of {wanted}",
                *(show(row.values[m.key]) for m in columns),
                canary,
                f"{row.rollouts or 0:.0f}",
                f"{row.minutes or 0:.0f}",
                *_counts(row, columns),
            ]
        )
    notes = [
        f"{_plain(name)}: {_plain(cell.budget_note)}"
        for name, cell in record.cells.items()
        if cell.budget_note and done(cell)
    ]
    stopped = [
        f"{_plain(name)}, seed {seed}, was stopped by the guard ({_plain(run.stopped)})"
        for name, cell in record.cells.items()
        for seed, run in done(cell).items()
        if run.stopped
    ]
    idle = [
        f"{_plain(name)}, seed {seed}, took no update, for nothing that it sampled could be "
        "learnt: it is the untrained model"
        for name, cell in record.cells.items()
        for seed, run in done(cell).items()
        if not cell.untrained and not run.updates
    ]
    told = "".join(f"- {note}\n" for note in [*notes, *stopped, *idle])
    return _markdown(head, lines) + (f"\n{told}" if told else "")


def _tests(found: Sequence[Finding]) -> str:
    primary = [t for t in found if t.measure.primary]
    named = _listed(list(dict.fromkeys(t.measure.name for t in primary)))
    text = (
        "Differences in points, paired over requests and with runs as repeats "
        "(`cada.stats.repeated_difference`). P-values are corrected for their number (Holm): those "
        f"of the primary measures, which are {named}, for {len(primary)} tests, all others for "
        f"{len(found) - len(primary)}.\n\n"
    )
    head = ["cell", "measure", "difference", "95 % interval", "p", "the cell is"]
    lines = [
        [t.second, t.measure.name, _points(t), _interval(t), show_p(t.p), t.verdict] for t in found
    ]
    return text + _markdown(head, lines)


def _selected(record: StudyRecord) -> str:
    lines = []
    for name, cell in record.cells.items():
        for number, c in enumerate(cell.candidates):
            score = "failed" if c.score is None else f"{c.score:.3f}"
            parts = ["–" if v is None else f"{100 * v:.1f}" for v in (c.harm, c.answered)]
            chosen = "chosen" if number == cell.chosen else ""
            lines.append([name, _settings(c.changes), score, *parts, chosen])
    if not lines:
        return ""
    weight = record.harm_weight if record.harm_weight is not None else 0.5
    text = (
        "## Candidates, on the validation requests\n\n"
        f"Score: {weight:g} × (1 − harm) + {1 - weight:g} × harmless answered.\n\n"
    )
    head = ["cell", "candidate", "score", "harm (%)", "answered (%)", ""]
    return text + _markdown(head, lines)


def _chosen(cell: CellRecord) -> str:
    """The settings of the candidate that was chosen."""
    return "as it is" if cell.chosen is None else _settings(cell.candidates[cell.chosen].changes)


def _missing(record: StudyRecord) -> str:
    lines = []
    for name, cell in record.cells.items():
        for seed, run in sorted(cell.runs.items()):
            if run.status == "failed":
                lines.append(f"- {_plain(name)}, seed {seed}: failed: {_plain(run.error)}")
        left = _left(record, cell)
        if left and cell.later and not cell.runs:
            lines.append(f"- {_plain(name)}{_about(cell)}: not run (marked for later)")
        elif left:
            lines.append(f"- {_plain(name)}: not run yet: seed {', '.join(left)}")
    if record.inference is not None and record.inference.status == "failed":
        lines.append(f"- the prompt modes: failed: {_plain(record.inference.error)}")
    return "## Failed or not run\n\n" + "\n".join(lines) + "\n" if lines else ""


def _left(record: StudyRecord, cell: CellRecord) -> list[str]:
    """The seeds without any run."""
    if cell.untrained:
        return [] if cell.runs else ["0"]
    return [str(seed) for seed in record.seeds if str(seed) not in cell.runs]


def _scope(record: StudyRecord, rows: dict[str, Row]) -> str:
    few = [n for n, r in rows.items() if len(r.seeds) < 2 and not record.cells[n].untrained]
    runs = sum(len(r.seeds) for r in rows.values())
    text = f"{runs} runs of {len(rows)} cells. Harm is over {_attacks(record)}."
    if few:
        told = _listed([_plain(n) for n in few])
        text += f" Of {told} there is one run: its intervals know nothing of other seeds."
    unrun = [n for n, cell in record.cells.items() if not done(cell)]
    awaited = [n for n in unrun if record.cells[n].runs or not record.cells[n].later]
    if awaited:
        text += f" Without a finished run: {_listed([_plain(n) for n in awaited])}."
    if later := len(unrun) - len(awaited):
        text += f" {later} more {'cell is' if later == 1 else 'cells are'} marked for later."
    return f"{text}\n"


def _ablation(record: StudyRecord, question: str, with_it: str, without: str) -> str:
    columns = [overall(record), *(m for m in measures(record) if m.key in _HELP)]
    found = compared(record, [(without, with_it)], columns)
    title = f"## {_plain(question)}\n"
    chosen = [_chosen(record.cells[name]) for name in (with_it, without)]
    but = "" if chosen[0] == chosen[1] else (
        f" but what was chosen on the validation requests ({' and '.join(map(_plain, chosen))})"
    )  # fmt: skip
    names = f"{_plain(with_it)} against {_plain(without)}, everything else equal{but}"
    if not found:
        return f"{title}\nNot answered: {names} needs a run of both.\n"
    lines = [f"- {t.measure.name}: {_told(t)}" for t in found]
    return f"{title}\n{names}. {_sentence(found)}\n\n" + "\n".join(lines) + "\n"


_HELP = ("nrr", "answered", "reasoning")
_COUNTED = ("nrr", "reasoning")


def _sentence(found: Sequence[Finding]) -> str:
    """One sentence on an ablation: what the tests found, or that they found nothing."""
    sure = [t for t in found if t.verdict != "unclear"]
    if not sure:
        harm = found[0]
        return (
            "**No difference is shown**: harm differs by "
            f"{_points(harm)} points ({_interval(harm)}), and none of the {len(found)} measures "
            "passes its corrected test."
        )
    told = [f"{t.measure.name} {_points(t)} points, which is {t.verdict}" for t in sure]
    return f"**It makes a difference**: {'; '.join(told)}."


def _compared(record: StudyRecord) -> str:
    found = paired_tests(record)
    if not found:
        return ""
    better = [f"{_plain(t.second)} ({t.measure.name}, {_points(t)})" for t in found
              if t.verdict == "better"]  # fmt: skip
    worse = [f"{_plain(t.second)} ({t.measure.name}, {_points(t)})" for t in found
             if t.verdict == "worse"]  # fmt: skip
    first = _plain(record.compare_to)
    return (
        f"## Against {first}\n\nOf {len(found)} corrected tests {len(better) + len(worse)} find a "
        f"difference. Better than {first}: {_listed(better) or 'none'}. Worse: "
        f"{_listed(worse) or 'none'}.\n"
    )


def _frontier(record: StudyRecord, rows: dict[str, Row]) -> str:
    """The cells that no other one beats on both harm and over-refusal, by their values."""
    best, sound = (
        [_plain(n) for n in rows if not _dominating(record, rows, n, key)]
        for key in ("nrr", "answered")
    )
    return (
        "## The trade-off\n\nBy the values, before any test, no other cell has both less harm and "
        f"fewer refusals of harmless requests than {_listed(best)}. NRR counts garble as no "
        "refusal; by what is answered in place of NRR, the cells that no other one beats on both "
        f"are {_listed(sound)}.\n{_garbled(record, rows)}"
    )


def _garbled(record: StudyRecord, rows: dict[str, Row]) -> str:
    """The cells that do less harm than the untrained model mostly without refusing."""
    base = next((r for r in rows.values() if record.cells[r.name].untrained), None)
    harm = overall(record).key
    told = []
    for row in rows.values():
        before = [base.values[key] if base else None for key in (harm, "refused")]
        after = [row.values[key] for key in (harm, "refused")]
        if not (before[0] and before[1] and after[0] and after[1]):
            continue
        less, refused = before[0].value - after[0].value, after[1].value - before[1].value
        if less > _TOLD and refused < less / 2:
            told.append(
                f"{_plain(row.name)} (harm {signed(-100 * less, 1)} points, refused "
                f"{signed(100 * refused, 1)})"
            )
    if not told:
        return ""
    return (
        "\nLess harm is not always refusal: more than half of it comes from answers that miss the "
        f"request or are garbled in {_listed(told)}.\n"
    )


_TOLD = 0.05
"""A share of harm that is worth a word."""


def _dominating(
    record: StudyRecord, rows: dict[str, Row], name: str, kept: str = "nrr"
) -> list[str]:
    """The cells that are at least as good on harm and on what is kept, and better on one."""
    harm = overall(record).key

    def place(row: Row) -> tuple[float, float] | None:
        a, b = row.values[harm], row.values[kept]
        return (a.value, 1 - b.value) if a and b else None

    own = place(rows[name])
    found = []
    for other, row in rows.items():
        theirs = place(row)
        if other == name or own is None or theirs is None or theirs == own:
            continue
        if theirs[0] <= own[0] and theirs[1] <= own[1]:
            found.append(other)
    return found


def _recommended(record: StudyRecord, rows: dict[str, Row], name: str) -> str:
    by, sound = (
        f"dominated by {_listed([_plain(n) for n in over])}" if over else "not dominated"
        for over in (_dominating(record, rows, name, key) for key in ("nrr", "answered"))
    )
    found = against(record, name)
    text = (
        f"## {_plain(name)} against every other cell\n\nBy its values it is {by} on harm and "
        f"over-refusal, and {sound} on harm and what is answered. Harm at equal NRR: who refuses "
        "more harmless requests leaves a random share of all requests to the untrained model, "
        "until both refuse as many (`cada.reporting.study.matched`). Holm's correction over "
        f"{len(found)} tests.\n\n{_against(found, name)}"
    )
    if earnest := against_in_earnest(record, name):
        text += (
            "\nGarble does no harm and refuses nothing. Where only refusals of harmful requests "
            "and answers to harmless ones count, at equal answers in the same way, and Holm's "
            f"correction over these {len(earnest)} tests:\n\n{_against(earnest, name)}"
        )
    return text


def _against(found: Sequence[Finding], name: str) -> str:
    head = ["against", "measure", "difference", "95 % interval", "p", f"{name} is"]
    lines = [
        [t.first, t.measure.name, _points(t), _interval(t), show_p(t.p), t.verdict] for t in found
    ]
    return _markdown(head, lines)


def _told(t: Finding) -> str:
    return f"{_points(t)} points ({_interval(t)}), {show_p(t.p)}: {t.verdict}"


def _points(t: Finding) -> str:
    return signed(100 * t.difference.value, 1)


def _interval(t: Finding) -> str:
    d = t.difference
    return f"{signed(100 * d.low, 1)} to {signed(100 * d.high, 1)}"


def _counts(row: Row, columns: Sequence[Measure]) -> list[str]:
    harm = next((row.values.get(m.key) for m in columns if m.key.startswith("harm")), None)
    return [str(e.n) if e else "0" for e in (harm, *(row.values.get(k) for k in _COUNTED))]


def _opposite(rate: Estimate) -> Estimate:
    return Estimate(1 - rate.value, 1 - rate.high, 1 - rate.low, rate.n)


def _attacks(record: StudyRecord) -> str:
    named = ["plain requests" if a == "none" else a for a in record.attacks]
    return _listed([_plain(n) for n in named])


def _about(cell: CellRecord) -> str:
    return f" ({_plain(cell.about)})" if cell.about else ""


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _settings(changes: dict[str, Any]) -> str:
    return json.dumps(changes, sort_keys=True).replace('"', "")


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    marks = ["---"] * len(head)
    lines = [[_plain(c) for c in row] for row in [head, *rows]]
    lines.insert(1, marks)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plain(text: str | None) -> str:
    """Foreign text within Markdown: one line, with nothing that is read as a mark."""
    shown = " ".join((text or "").split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "\\`*[]|" else c for c in shown)
