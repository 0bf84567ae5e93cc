"""`cada casebook`: check, show and start a casebook."""

import json
from collections import Counter
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copytree
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cada.casebook.loader import DEFAULT, count_words, load_casebook
from cada.casebook.schema import Casebook, CaseKind, Hazard
from cada.errors import CadaError
from cada.files import atomic_path

app = typer.Typer(
    help="Casebooks, the policy that is taught: check, show, start one.", no_args_is_help=True
)

Source = Annotated[
    str,
    typer.Argument(
        metavar="PATH", help="A casebook folder, a YAML file, or `default`.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


@app.command("check", epilog="Example: cada casebook check my-casebook")
def check_command(path: Source = DEFAULT, as_json: AsJson = False) -> None:
    """Check a casebook and name the first mistake with its file and line."""
    casebook = load_casebook(path)
    kinds = Counter(case.kind for hazard in casebook.hazards for case in hazard.cases)
    summary = {
        "name": casebook.name,
        "version": casebook.version,
        "hazards": len(casebook.hazards),
        "cases": kinds.total(),
        "refuse": kinds[CaseKind.REFUSE],
        "comply": kinds[CaseKind.COMPLY],
        "notes": _notes(casebook),
    }
    if as_json:
        _print_json(summary)
        return
    console = Console(highlight=False)
    console.print(
        Text(
            f"{casebook.name} {casebook.version} is fine: {summary['hazards']} hazards, "
            f"{summary['cases']} cases ({summary['refuse']} refuse, {summary['comply']} comply)."
        )
    )
    for note in _notes(casebook):
        console.print(Text(f"Note: {note}", style="yellow"))


@app.command("show", epilog="Example: cada casebook show --hazard privacy")
def show_command(
    path: Source = DEFAULT,
    hazard: Annotated[
        str | None, typer.Option("--hazard", metavar="ID", help="Show this hazard in full.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the codes and the word counts; with --hazard, one hazard's rules and cases."""
    casebook = load_casebook(path)
    chosen = _find(casebook, hazard) if hazard is not None else None
    if as_json:
        _print_json((chosen or casebook).model_dump(mode="json"))
        return
    Console(highlight=False).print(_hazard_page(chosen) if chosen else _casebook_page(casebook))


@app.command("new", epilog="Example: cada casebook new my-casebook")
def new_command(
    path: Annotated[Path, typer.Argument(help="The folder to make.", show_default=False)],
) -> None:
    """Write a small commented casebook to start from."""
    if path.suffix in {".yaml", ".yml"}:
        raise CadaError(
            "a new casebook is a folder", where=str(path), mend=f"Call it {path.with_suffix('')}"
        )
    if path.exists():
        raise CadaError(
            "this exists already and is not overwritten",
            where=str(path),
            mend="Choose another name",
        )
    with as_file(files("cada.casebook") / "starter") as starter, atomic_path(path) as folder:
        copytree(starter, folder)
    typer.echo(f"Wrote {path}. Edit it, then run: cada casebook check {path}")


def _find(casebook: Casebook, hazard_id: str) -> Hazard:
    try:
        return casebook.hazard(hazard_id)
    except KeyError:
        raise CadaError(
            f"there is no hazard '{hazard_id}'",
            where=f"casebook '{casebook.name}'",
            mend=f"Use one of: {', '.join(hazard.id for hazard in casebook.hazards)}",
        ) from None


def _notes(casebook: Casebook) -> list[str]:
    """What is allowed but rarely meant."""
    notes = []
    for hazard in casebook.hazards:
        kinds = {case.kind for case in hazard.cases}
        notes += [f"'{hazard.id}' has no {kind} case" for kind in CaseKind if kind not in kinds]
        if not hazard.code.rules:
            notes.append(f"'{hazard.id}' has no rules; the long modes show its short code")
    return notes


def _casebook_page(casebook: Casebook) -> RenderableType:
    title = f"{casebook.name} {casebook.version} ({casebook.licence})"
    return Group(
        Text(title, style="bold"),
        _section(f"Code, {count_words(casebook.code)} words", [casebook.code]),
        _section("Objectives", casebook.objectives),
        _section("Defaults", casebook.defaults),
        _section("Style", casebook.style),
        Text("\nHazards", style="bold"),
        _hazard_table(casebook.hazards),
    )


def _hazard_table(hazards: Sequence[Hazard]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("No.", justify="right")
    table.add_column("id", no_wrap=True)
    table.add_column("name")
    for heading in ("short", "rules", "examples", "refuse", "comply"):
        table.add_column(heading, justify="right")
    for hazard in hazards:
        kinds = Counter(case.kind for case in hazard.cases)
        table.add_row(
            str(hazard.number),
            Text(hazard.id),
            Text(hazard.name),
            *(str(count) for count in _word_counts(hazard)),
            str(kinds[CaseKind.REFUSE]),
            str(kinds[CaseKind.COMPLY]),
        )
    table.caption = "short, rules, examples: words; refuse, comply: cases"
    return table


def _hazard_page(hazard: Hazard) -> RenderableType:
    short, rules, examples = _word_counts(hazard)
    parts: list[RenderableType] = [
        Text(f"{hazard.number}. {hazard.name} ({hazard.id})", style="bold"),
        Padding(Text(hazard.summary), (0, 0, 0, 2)),
        _section(f"Short code, {short} words", [hazard.code.short]),
        _section(f"Rules, {rules} words", hazard.code.rules),
        _section(f"Examples, {examples} words", hazard.code.examples),
    ]
    for case in hazard.cases:
        colour = "red" if case.kind is CaseKind.REFUSE else "green"
        parts.append(Text(f"\n{case.id} ({case.kind})", style=colour))
        for label, text in (
            ("Request", case.request),
            ("Reasoning", case.reasoning),
            ("Response", case.response),
        ):
            parts.append(Padding(Text(f"{label}: {text}"), (0, 0, 0, 2)))
    return Group(*parts)


def _section(title: str, texts: Sequence[str]) -> RenderableType:
    body = [Padding(Text(text), (0, 0, 0, 2)) for text in texts]
    return Group(Text(f"\n{title}", style="bold"), *body)


def _word_counts(hazard: Hazard) -> tuple[int, int, int]:
    """Words of the short code, of all rules and of all example bullets."""
    code = hazard.code
    return (
        count_words(code.short),
        sum(map(count_words, code.rules)),
        sum(map(count_words, code.examples)),
    )


def _print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
