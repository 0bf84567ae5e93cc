"""`cada align`: one recipe in, an aligned model and a report out."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cada.cli.watch import ConsoleWatcher
from cada.config.load import dump_recipe, load_recipe


def align_command(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/demo.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the recipe, as key=value.", metavar="[KEY=VALUE]..."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the whole recipe with its defaults, and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Align a model: requests, rollouts, rewards, updates; measured before and after.

    The same command goes on where a killed run stopped.

    Example: cada align recipes/demo.yaml seed=1 output=runs/demo-1
    """
    chosen = load_recipe(recipe, overrides)
    if show:
        typer.echo(dump_recipe(chosen), nl=False)
        return
    from cada.pipelines.align import align
    from cada.reporting.load import load_run
    from cada.reporting.tables import comparison, rich_table

    console = Console(stderr=as_json)
    with ConsoleWatcher(console) as watcher:
        outcome = align(chosen, watcher)
    if not outcome.main:
        return
    run = load_run(outcome.folder)
    rows = run.evaluation["rows"]
    if as_json:
        typer.echo(
            json.dumps({"folder": str(outcome.folder), "stopped": run.stopped, "rows": rows})
        )
        return
    console.print(rich_table(comparison(rows)))
    console.print(f"model   {outcome.folder / 'model'}", highlight=False)
    console.print(f"report  {outcome.report}", highlight=False)
