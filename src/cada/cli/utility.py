"""`cada utility`: what a model can do, before and after alignment."""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from cada.cli.watch import ConsoleWatcher


class Task(StrEnum):
    """The benchmarks there are."""

    GSM8K = "gsm8k"
    BBH = "bbh"
    MMLU = "mmlu"


def utility_command(
    model: Annotated[str, typer.Argument(help="Hub id, folder, .gguf or builtin:smollm2-135m.")],
    task: Annotated[
        list[Task] | None, typer.Option("--task", help="Repeatable. Default: all three.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder with the benchmarks' files (gsm8k/, bbh/, mmlu/); nothing is fetched "
            "then. Default: from the hub.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="So many items of each task, spread over its subtasks."),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Longest answer, reasoning included, in tokens.")
    ] = 1024,
    style: Annotated[
        Literal["headings", "think_tags"] | None,
        typer.Option(help="How the analysis is marked. Default: as in training, else headings."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for items and evaluation.json.")
    ] = None,
    device: Annotated[Literal["cpu", "cuda"] | None, typer.Option(help="Default: any GPU.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """How well does a model calculate (GSM8K), reason (BBH) and know (MMLU)?

    Measured with lm-evaluation-harness: 5, 0 and 5 examples in the prompt, temperature 0, the
    chat template, the reasoning taken off. With --out, a killed measurement goes on.

    Example: cada utility runs/demo/model --out runs/utility

    Example: cada utility builtin:smollm2-135m --data ../shared/data --task mmlu --limit 50
    """
    # the harness draws a bar for every subtask
    os.environ.setdefault("TQDM_DISABLE", "1")
    from cada.models.trained import prompting_of
    from cada.pipelines.utility import Utility, utility

    console = Console(stderr=as_json)
    job = Utility(
        model=model,
        benchmarks=tuple(dict.fromkeys(map(str, task or Task))),
        data=None if data is None else str(data),
        limit=limit,
        max_tokens=max_tokens,
        style=prompting_of(model, style).style,
        device=device,
    )
    with ConsoleWatcher(console) as watcher:
        result = utility(job, out, watcher)
    if as_json:
        typer.echo(json.dumps(result.as_dict()))
        return
    table = Table(box=box.SIMPLE)
    for name in ("benchmark", "metric"):
        table.add_column(name, no_wrap=True)
    for name in ("value", "95 %", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for r in result.rows:
        value = "–" if r.value is None else f"{r.value:.3f}"
        interval = "–" if r.ci_low is None else f"{r.ci_low:.2f}–{r.ci_high:.2f}"
        table.add_row(r.benchmark, r.metric, value, interval, str(r.n))
    console.print(table)
