"""The table as Markdown and LaTeX, whatever a set or a model is called."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cada.reporting.compare.load import Measured, load_models
from cada.reporting.compare.table import Line, table
from cada.reporting.compare.text import latex, markdown, rich_table, show_p
from tests.reporting.runs import answers, good_after, good_before, write_evaluation

NAME = "a|b_c% & $x$ {y} \\z <b> [l](javascript:0) #1 ~^\n`d`"


def compared(tmp_path: Path, name: str = "set") -> tuple[list[Measured], list[Line]]:
    folders = [
        write_evaluation(tmp_path / n, [replace(a, benchmark=name) for a in answers(o)])
        for n, o in (("one", good_before), ("two", good_after))
    ]
    models = load_models([str(f) for f in folders])
    return models, table(models)


def test_markdown(tmp_path: Path) -> None:
    lines = markdown(*compared(tmp_path)).splitlines()
    assert lines[0] == "| set | attack | prompt | metric (%) | one | two | difference to one |"
    assert lines[1] == "| --- | --- | --- | --- | ---: | ---: | ---: |"
    assert lines[2] == (
        "| set | none | bare request | Harm done (ASR) | 100.0 (83.9–100.0) | 10.0 (2.8–30.1) "
        "| −90.0 (−97.2 to −64.2); p &lt; 0.001 |"
    )


def test_markdown_of_odd_names_keeps_its_columns_and_holds_no_markup(tmp_path: Path) -> None:
    for line in markdown(*compared(tmp_path, NAME)).splitlines():
        assert len(re.findall(r"(?<!\\)\|", line)) == 8
        assert "<" not in line
        assert not re.search(r"(?<!\\)[\[\]`*_]", line.replace("| --- ", ""))


def test_latex(tmp_path: Path) -> None:
    lines = latex(*compared(tmp_path)).splitlines()
    assert lines[:3] == [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{llllrrr}",
        r"\toprule",
    ]
    assert lines[5] == (
        r"set & none & bare request & Harm done (ASR) & 100.0 (83.9--100.0) & 10.0 (2.8--30.1) & "
        r"$-$90.0 ($-$97.2 to $-$64.2); p \textless{} 0.001 \\"
    )
    assert lines[-1] == r"\end{tabular}"


def test_latex_of_odd_names_is_escaped(tmp_path: Path) -> None:
    body = latex(*compared(tmp_path, NAME)).splitlines()[5:-2]
    told = (
        r"a\textbar{}b\_c\% \& \$x\$ \{y\} \textbackslash{}z \textless{}b\textgreater{} "
        r"[l](javascript:0) \#1 \textasciitilde{}\textasciicircum{} `d`"
    )
    assert all(line.startswith(told) and line.endswith(r" \\") for line in body)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {6}


def test_a_terminal_shows_values_differences_and_names_as_they_are(tmp_path: Path) -> None:
    console = Console(width=120, record=True, file=(tmp_path / "out").open("w"))
    console.print(rich_table(*compared(tmp_path, "[red]set[/]")))
    text = console.export_text()
    assert "[red]set[/], bare request" in text
    assert "10.0 (2.8–30.1)" in text
    assert "−90.0 (−97.2 to −64.2)" in text


@pytest.mark.parametrize(("p", "told"), [(0.0, "p < 0.001"), (0.04, "p = 0.040"), (1, "p = 1.000")])
def test_p_values(p: float, told: str) -> None:
    assert show_p(p) == told
