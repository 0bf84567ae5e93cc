"""`cada study`: methods side by side over seeds, their tables and conclusions."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from cada.cli.watch import ConsoleWatcher
from cada.config.study import StudyRecipe, load_study
from cada.errors import CadaError


def study_command(
    recipe: Annotated[
        Path | None, typer.Argument(help="A study's recipe, such as recipes/study/smollm2.yaml.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to it, as key=value.", metavar="[KEY=VALUE]..."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the cells and what they take, and stop.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            help="These cells alone, with commas; those marked for later too. `inference` is the "
            "prompt modes on the untrained model."
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="These seeds alone, with commas, such as 0,1.")
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option(
            "--tables",
            metavar="STUDY.JSON",
            help="Write the tables of a study anew, and stop; needs no recipe and no model.",
        ),
    ] = None,
    join: Annotated[
        list[Path] | None,
        typer.Option(
            "--join",
            metavar="STUDY.JSON",
            help="Put parts of a study that ran in several places together in --out, with their "
            "tables, and stop. Give it for each part.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder: of --tables (default: beside the file), or of --join (a study goes on "
            "there when its recipe's output is this folder)."
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1e6,
            help="With --dry-run: the machine's matrix rate in operations a second. "
            "Default: measured.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Compare methods: every cell under every seed, paired tests, a picture and conclusions.

    The same command goes on where a killed one stopped, and tries failed cells again.

    Example: cada study recipes/study/smollm2.yaml --dry-run

    Example: cada study recipes/study/smollm2.yaml --only base,sft_dr --seeds 0

    Example: cada study --tables runs/study-smollm2/study.json

    Example: cada study --join runs/one/study.json --join runs/two/study.json --out runs/both
    """
    if join:
        _join(join, out, as_json)
        return
    if tables is not None:
        _tables(tables, out, as_json)
        return
    if recipe is None:
        raise CadaError(
            "a recipe is missing", where="RECIPE", mend="Give one, or --tables STUDY.JSON"
        )
    chosen = load_study(recipe, overrides)
    cells = only.split(",") if only else []
    numbers = _numbers(seeds)
    if dry_run:
        _plan(chosen, cells, numbers, rate, as_json)
        return
    from cada.pipelines.study import run_study
    from cada.reporting.study.record import FILE

    console = Console(stderr=as_json)
    with ConsoleWatcher(console) as watcher:
        record = run_study(chosen, watcher, only=cells, seeds=numbers)
    folder = Path(chosen.output)
    failed = [
        {"cell": name, "seed": int(seed), "error": run.error}
        for name, cell in record.cells.items()
        for seed, run in cell.runs.items()
        if run.status == "failed"
    ]
    if as_json:
        done = sum(r.status == "done" for c in record.cells.values() for r in c.runs.values())
        typer.echo(json.dumps({"folder": str(folder), "done": done, "failed": failed}))
        return
    for item in failed:
        console.print(f"failed  {item['cell']}, seed {item['seed']}: {item['error']}", markup=False)
    console.print(f"study   {folder / FILE}", highlight=False)
    console.print(f"tables  {folder / 'tables'}", highlight=False)


def _numbers(text: str | None) -> list[int]:
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise CadaError(
            f"{text!r} is no list of whole numbers", where="--seeds", mend="Such as --seeds 0,1"
        ) from None


def _join(parts: list[Path], out: Path | None, as_json: bool) -> None:
    from cada.reporting.study.join import join
    from cada.reporting.study.record import FILE, write_record

    if out is None:
        raise CadaError("--join needs a folder for the whole", where="--out", mend="Name one")
    whole = out / FILE
    if whole.exists() and whole.resolve() not in {part.resolve() for part in parts}:
        raise CadaError(
            "the folder holds a study that is none of the parts",
            where=str(whole),
            mend="Choose another folder, or join that file too",
        )
    write_record(whole, join(parts))
    _tables(whole, None, as_json)


def _tables(path: Path, out: Path | None, as_json: bool) -> None:
    from cada.reporting.study.page import write_pages
    from cada.reporting.study.record import read_record

    written = write_pages(read_record(path), out or path.parent / "tables")
    if as_json:
        typer.echo(json.dumps({"files": [str(p) for p in written]}))
        return
    for file in written:
        typer.echo(str(file))


def _plan(
    study: StudyRecipe, only: list[str], seeds: list[int], rate: float | None, as_json: bool
) -> None:
    from cada.cli.plan import clock
    from cada.pipelines.study_plan import foresee_study

    plan = foresee_study(study, only=only, seeds=seeds, rate=rate)
    if as_json:
        typer.echo(json.dumps(plan.as_dict()))
        return
    table = Table(title=f"{study.name}: {study.output}", title_justify="left", box=box.SIMPLE)
    table.add_column("cell", no_wrap=True)
    for name in ("runs", "tried", "requests", "rollouts", "updates", "a run", "in all"):
        table.add_column(name, justify="right")
    for cell in plan.cells:
        counts = (cell.runs, cell.candidates, cell.requests, cell.rollouts, cell.updates)
        table.add_row(
            cell.name, *(f"{n:,}" for n in counts), clock(cell.seconds), clock(cell.total)
        )
    console = Console()
    console.print(table)
    if study.budget:
        console.print(f"Budget: {study.budget} requests a run, checked.", highlight=False)
    if plan.inference:
        console.print(f"The prompt modes: about {clock(plan.inference)}.", highlight=False)
    if plan.later:
        console.print(f"Not run by default: {', '.join(plan.later)}.", highlight=False)
    console.print(
        f"Time in all: about {clock(plan.seconds)}, with every completion as long as it may be and "
        "half of what is distilled kept.",
        highlight=False,
    )
