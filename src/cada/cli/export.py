"""`cada export`: train with cada's prompts and reward on a trainer for clusters."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cada.config.load import load_recipe
from cada.export.plan import Trainer


def export_command(
    trainer: Annotated[Trainer, typer.Argument(help="Which trainer.")],
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/llama3-8b.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the recipe, as key=value.", metavar="[KEY=VALUE]..."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")] = Path("export"),
    phase: Annotated[
        str | None, typer.Option("--phase", help="The phase; may be left out if there is one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Write a phase's prompts, reward and settings for TRL, verl or OpenRLHF.

    The reward file calls cada's own judge and reward. What the trainer does otherwise is listed.

    Example: cada export verl recipes/llama3-8b.yaml --out runs/verl
    """
    chosen = load_recipe(recipe, overrides)
    from cada.pipelines.export import export

    done = export(chosen, trainer, out, phase)
    if as_json:
        typer.echo(json.dumps(done.as_dict()))
        return
    console = Console(highlight=False)
    console.print(
        f"{done.folder}: {done.n_train} prompts of phase {done.phase!r} and {done.n_validate} to "
        f"validate, for {done.trainer}",
        markup=False,
        soft_wrap=True,
    )
    for warning in done.warnings:
        console.print(f"warning: {warning}", markup=False, soft_wrap=True)
