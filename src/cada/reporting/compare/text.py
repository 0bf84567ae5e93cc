"""The comparison's table for a terminal, for Markdown and for LaTeX.

Names of sets, attacks and models come from files: each form escapes what it would read.
"""

import re
from collections.abc import Callable, Sequence

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from cada.judging.text import one_line, well_formed
from cada.reporting.compare.load import Measured
from cada.reporting.compare.table import Cell, Line
from cada.reporting.tables import mode_name, signed
from cada.stats import Estimate

_LONGEST = 80  # characters of a name
_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": r"$-$",
    "–": "--",
    "α": r"$\alpha$",
}


def show(value: Estimate | None) -> str:
    """A value in percent with its interval: `12.3 (8.9–16.7)`."""
    if value is None or not value.n:
        return "–"
    return f"{100 * value.value:.1f} ({100 * value.low:.1f}–{100 * value.high:.1f})"


def show_difference(cell: Cell) -> str:
    """A difference in points, its interval, and its corrected p-value; empty when there is none."""
    d = cell.difference
    if d is None or cell.p is None:
        return ""
    low, high = signed(100 * d.low, 1), signed(100 * d.high, 1)
    return f"{signed(100 * d.value, 1)} ({low} to {high}); {show_p(cell.p)}"


def show_p(p: float) -> str:
    """A p-value: `p < 0.001` or `p = 0.040`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def place_name(line: Line) -> str:
    """Where a line was measured: `advbench + pap, bare request`."""
    attack = "" if line.attack == "none" else f" + {line.attack}"
    return f"{line.benchmark}{attack}, {mode_name(line.mode)}"


def rich_table(models: Sequence[Measured], lines: Sequence[Line]) -> Table:
    """The comparison for a terminal."""
    shown = Table(title="Per cent, with 95 % intervals", title_justify="left", box=SIMPLE)
    shown.add_column("")
    for model in models:
        shown.add_column(Text(_plain(model.name)), justify="right", overflow="fold")
    colours = {"better": "green", "worse": "red", "unclear": "default"}
    place = None
    for line in lines:
        if line.place != place:
            place = line.place
            shown.add_section()
            shown.add_row(Text(_plain(place_name(line)), style="bold"))
        cells = [
            Text.assemble(
                show(cell.value),
                (f"\n{told}" if told else "", colours[judged]),
            )
            for cell in line.cells
            for judged in [line.judgement(cell)]
            for told in [show_difference(cell).replace("; ", "\n")]
        ]
        shown.add_row(line.name, *cells)
    return shown


def markdown(models: Sequence[Measured], lines: Sequence[Line]) -> str:
    """The comparison as a Markdown table, with a line break at its end."""
    heads, rows = _cells(models, lines, _markdown)
    marks = ["---"] * 4 + ["---:"] * (len(heads) - 4)
    return "".join(f"| {' | '.join(row)} |\n" for row in [heads, marks, *rows])


def latex(models: Sequence[Measured], lines: Sequence[Line]) -> str:
    """The comparison as a LaTeX `tabular`; it needs the package booktabs."""
    heads, rows = _cells(models, lines, _latex)
    columns = "llll" + "r" * (len(heads) - 4)
    body = [" & ".join(row) + r" \\" for row in rows]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _cells(
    models: Sequence[Measured], lines: Sequence[Line], escape: Callable[[str], str]
) -> tuple[list[str], list[list[str]]]:
    """The heads of the columns, and the lines; a difference has a column of its own."""
    first = _plain(models[0].name)
    heads = ["set", "attack", "prompt", "metric (%)", first]
    for model in models[1:]:
        heads += [_plain(model.name), f"difference to {first}"]
    rows = []
    for line in lines:
        row = [line.benchmark, line.attack, mode_name(line.mode), line.name]
        row.append(show(line.cells[0].value))
        for cell in line.cells[1:]:
            row += [show(cell.value), show_difference(cell)]
        rows.append([escape(_plain(text)) for text in row])
    return [escape(head) for head in heads], rows


def _plain(text: str) -> str:
    return one_line(well_formed(text), _LONGEST)


def _markdown(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|~!$])|(?<=:)(?=//)", lambda m: "\\" + (m.group(1) or ""), text)


def _latex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)
