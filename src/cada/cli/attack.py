"""`cada attack`: freeze attack prompts to a file, list the attacks that there are."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from cada.attacks.named import CATALOGUE
from cada.attacks.pair import PairOptions
from cada.cli.requests import (
    BENCHMARK,
    DATA,
    SOURCE_HELP,
    CasebookOption,
    benchmark_sources,
    conditions,
    parse_source,
)
from cada.cli.watch import ConsoleWatcher
from cada.config.judge import ChatOptions, parse_chat
from cada.config.sources import Columns
from cada.prompting.deliberation import FormatStyle

app = typer.Typer(
    help="Attack prompts: freeze them to a file that all models share.", no_args_is_help=True
)

_CHAT = "model=NAME[,base_url=…,NAME=VALUE…], over an API or a server of yours"
_LOCAL = "local="


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Show every attack: what it does, what it needs, where it is from.

    Example: cada attack list
    """
    if as_json:
        typer.echo(json.dumps([entry.as_dict() for entry in CATALOGUE]))
        return
    table = Table(box=box.SIMPLE)
    table.add_column("attack", no_wrap=True)
    table.add_column("does, and needs")
    for entry in CATALOGUE:
        needs = "" if entry.needs == "nothing" else f"; needs {entry.needs}"
        table.add_row(entry.name, entry.about + needs)
    Console(highlight=False).print(table)


@app.command("build")
def build_command(
    attack: Annotated[str, typer.Argument(help="A name that `cada attack list` shows.")],
    out: Annotated[Path, typer.Option("--out", help="The .jsonl to write, or to go on with.")],
    benchmark: Annotated[list[str] | None, BENCHMARK] = None,
    data: Annotated[Path | None, DATA] = None,
    requests: Annotated[
        list[str] | None,
        typer.Option(
            "--requests",
            help=f"{SOURCE_HELP}. Repeatable. Default, without --benchmark: embedded:test.",
        ),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option("--text-column", help="Column with the requests.")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", help="Keep rows with COLUMN=VALUE. Repeatable.")
    ] = None,
    casebook: CasebookOption = "default",
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many requests of each source.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the attacker's samples.")] = 0,
    attacker: Annotated[
        str | None, typer.Option(help=f"The model that writes the prompts: {_CHAT}.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help=f"PAIR: the model that it is tried on: {_CHAT} (transfer), or local=MODEL, the "
            "one to be measured (direct)."
        ),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help=f"PAIR: the model that rates answers: {_CHAT}.")
    ] = None,
    streams: Annotated[
        int, typer.Option(min=1, help="PAIR: conversations a request; the paper has 30.")
    ] = PairOptions.streams,
    iterations: Annotated[
        int, typer.Option(min=1, help="PAIR: turns of a conversation.")
    ] = PairOptions.iterations,
    keep: Annotated[
        int, typer.Option(min=1, help="PAIR: turns that the attacker remembers.")
    ] = PairOptions.keep,
    target_tokens: Annotated[
        int, typer.Option(min=1, help="PAIR: longest answer of a local target, in tokens.")
    ] = 256,
    texts: Annotated[
        Path | None,
        typer.Option("--texts", help="Prompts of yours: a table with columns request and text."),
    ] = None,
    style: Annotated[
        FormatStyle, typer.Option(help="How the models mark their analysis, for prefills.")
    ] = FormatStyle.HEADINGS,
    plain_where_failed: Annotated[
        bool,
        typer.Option(
            "--plain-where-failed",
            help="Write the plain request, and why, where a model fails for good.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Write an attack's prompts for a set of requests to one file, for every model alike.

    The same command goes on where a killed one stopped, and sends nothing again that was answered.

    Example: cada attack build base64 -b advbench --out base64.jsonl

    Example: cada attack build pap_misrepresentation -b strongreject
    --attacker model=openai/gpt-4o-mini --out pap.jsonl
    """
    from cada.pipelines.attack import AttackJob, build

    columns = Columns(text=text_column) if text_column else None
    named = requests or ([] if benchmark else ["embedded:test"])
    sources = benchmark_sources(benchmark, data) + [
        # no label is used, and so none is asked for
        parse_source(s, None if s.startswith("embedded") else columns, harmful=True)
        for s in named
    ]
    job = AttackJob(
        attack=attack,
        sources=sources,
        out=out,
        date=datetime.now(UTC).date().isoformat(),
        seed=seed,
        limit=limit,
        where=conditions(where),
        casebook=casebook,
        style=style,
        attacker=_chat(attacker, "--attacker"),
        target=target.removeprefix(_LOCAL)
        if target and target.startswith(_LOCAL)
        else _chat(target, "--target"),
        judge=_chat(judge, "--judge"),
        streams=streams,
        iterations=iterations,
        keep=keep,
        target_tokens=target_tokens,
        texts=texts,
        plain=plain_where_failed,
    )
    console = Console(stderr=as_json, highlight=False)
    with ConsoleWatcher(console) as watcher:
        built = build(job, watcher)
    if as_json:
        typer.echo(json.dumps(built.as_dict()))
        return
    kept = f", {built.n - built.n_new} of them from before" if built.n_new < built.n else ""
    console.print(
        f"{built.out}: {built.n} prompts of {built.attack}{kept}", markup=False, soft_wrap=True
    )
    if built.n_top is not None:
        console.print(
            f"{built.n_top} were rated 10 against the target", markup=False, soft_wrap=True
        )
    if built.n_plain:
        console.print(
            f"{built.n_plain} stand unchanged: see their `problem`", markup=False, soft_wrap=True
        )
    for role, cost in built.cost.items():
        _show_cost(console, role, cost)


def _chat(text: str | None, option: str) -> ChatOptions | None:
    return parse_chat(text.split(","), option) if text else None


def _show_cost(console: Console, role: str, cost: dict[str, Any]) -> None:
    price = "" if cost["cost"] is None else f", cost {cost['cost']:.4g}"
    console.print(
        f"{role} {cost['model']}: {cost['calls']} calls, {cost['cached']} kept replies, "
        f"{cost['failed']} failed{price}",
        markup=False,
        soft_wrap=True,
    )
