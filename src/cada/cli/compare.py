"""`cada compare`: before and after, or several models, on the same requests."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def compare_command(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="[NAME=]FOLDER: the --out of `cada evaluate`, or a run of `cada align`, which is "
            "two models, before and after. The others are compared with the first.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Also write the table as Markdown.")
    ] = None,
    latex: Annotated[
        Path | None, typer.Option("--latex", help="Also write the table as LaTeX (booktabs).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """What changed between models: harm, over-refusal and reasoning, with paired differences.

    Writes one HTML file that needs no network.

    Example: cada compare runs/demo

    Example: cada compare base=runs/a tuned=runs/b --out ab.html --markdown ab.md --latex ab.tex
    """
    from cada.pipelines.compare import compare
    from cada.reporting.compare.text import rich_table

    found = compare(runs, out, markdown, latex)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
        return
    console = Console(highlight=False)
    console.print(rich_table(found.models, found.lines))
    for note in found.notes:
        console.print(f"note: {note}", markup=False)
    console.print(f"judge {found.models[0].judge}; the page is {found.report}", markup=False)
