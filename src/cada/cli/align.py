"""`cada align`: one recipe in, an aligned model and a report out."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cada.cli.watch import ConsoleWatcher
from cada.config.load import dump_recipe, load_recipe
from cada.config.recipe import Recipe


def align_command(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/demo.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the recipe, as key=value.", metavar="[KEY=VALUE]..."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the whole recipe with its defaults, and stop.")
    ] = False,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Foretell memory, tokens and time, without the weights, and stop."
        ),
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1e6,
            help="With --plan: the machine's matrix rate in operations a second, such as 1.4e11. "
            "Default: measured.",
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(min=1, help="With --plan: tokens of a completion. Default: the longest."),
    ] = None,
    kept: Annotated[
        float,
        typer.Option(min=0, max=1, help="With --plan: share of rollouts that distillation keeps."),
    ] = 0.5,
    force: Annotated[
        bool, typer.Option("--force", help="Start also what by its plan does not fit.")
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
    if plan:
        _plan(chosen, length, kept, rate, as_json)
        return
    from cada.pipelines.align import align
    from cada.reporting.load import load_run
    from cada.reporting.tables import comparison, rich_table

    console = Console(stderr=as_json)
    with ConsoleWatcher(console) as watcher:
        outcome = align(chosen, watcher, force=force)
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


def _plan(
    recipe: Recipe, length: int | None, kept: float, rate: float | None, as_json: bool
) -> None:
    from cada.cli.plan import as_dict, show
    from cada.pipelines.plan import foresee
    from cada.planning.plan import Assumptions

    found = foresee(recipe, Assumptions(length, kept), rate)
    if as_json:
        typer.echo(json.dumps(as_dict(found)))
        return
    show(found, Console())
