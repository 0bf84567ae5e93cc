"""`cada evaluate`: measure any model on benchmarks or on your own requests; gate a release."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cada.cli.judge import JUDGE, parts, show_cost
from cada.cli.requests import (
    BENCHMARK,
    DATA,
    CasebookOption,
    Classify,
    benchmark_sources,
    conditions,
    parse_source,
)
from cada.cli.watch import ConsoleWatcher
from cada.config.judge import parse_judge
from cada.config.phase import RolloutMode
from cada.config.sources import Columns
from cada.errors import CadaError

if TYPE_CHECKING:
    from cada.evaluation.metrics import Row

# The command's exit code when a requirement is not met.
GATE_FAILED = 3


def evaluate_command(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Hub id, folder, .gguf or builtin:smollm2-135m; openai/NAME, over an API."
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", help="A server that speaks OpenAI's protocol and has MODEL."),
    ] = None,
    api: Annotated[
        bool | None,
        typer.Option(
            "--api/--local",
            help="MODEL is inspect_ai's name of a model behind an API, as anthropic/NAME. Default: "
            "for openai/NAME and with --base-url.",
        ),
    ] = None,
    prefill: Annotated[
        Literal["refuse", "send", "continue_final_message"],
        typer.Option(help="Over an API: what is done with text that begins the model's answer."),
    ] = "refuse",
    benchmark: Annotated[list[str] | None, BENCHMARK] = None,
    data: Annotated[Path | None, DATA] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            help="none, a name of `cada attack list`, suffix:FILE or a file of `cada attack "
            "build`; put on harmful requests. Repeatable. Default: none.",
        ),
    ] = None,
    requests: Annotated[
        list[str] | None,
        typer.Option(
            "--requests",
            help="FILE, hub:ORG/NAME or embedded:SPLIT. Repeatable. Default, without --benchmark: "
            "embedded:test.",
        ),
    ] = None,
    harmful: Annotated[
        Literal["yes", "no"] | None,
        typer.Option("--harmful", help="Label of the rows that no column labels."),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option("--text-column", help="Column with the requests.")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", help="Keep rows with COLUMN=VALUE. Repeatable.")
    ] = None,
    mode: Annotated[
        list[RolloutMode] | None,
        typer.Option("--mode", help="Prompt mode. Repeatable. Default: none and cases."),
    ] = None,
    casebook: CasebookOption = "default",
    classify: Classify = False,
    style: Annotated[
        Literal["headings", "think_tags"] | None,
        typer.Option(help="How the analysis is marked. Default: as in training, else headings."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 128,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many requests of each source.")
    ] = None,
    canary: Annotated[
        str | None,
        typer.Option(help="Also the per-token loss on question-answer pairs: `embedded` or FILE."),
    ] = None,
    judge: Annotated[str | None, JUDGE] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers",
            help="In place of MODEL: stored answers, with their grades or to be judged.",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", help="PART=NAME[,PART=NAME…]: the columns of --answers."),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            help='Fail with exit code 3 unless the whole interval keeps it: "asr<=0.05", '
            '"xstest-safe:nrr>=0.9". Repeatable.',
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for answers.jsonl and evaluation.json.")
    ] = None,
    device: Annotated[Literal["cpu", "cuda"] | None, typer.Option(help="Default: any GPU.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """How often does a model do harm, and how often does it refuse what is fine?

    With --out, a killed evaluation goes on where it stopped.

    Example: cada evaluate runs/demo/model -b advbench -b xstest-safe --mode none

    Example: cada evaluate runs/demo/model --requests advbench.csv --harmful yes

    Example: cada evaluate --answers graded.csv --harmful yes --require "asr<=0.05"
    """
    from cada.evaluation.gate import Requirement, check
    from cada.models.trained import prompting_of
    from cada.pipelines.evaluate import Evaluation, evaluate, evaluate_stored
    from cada.prompting.deliberation import FormatStyle

    requirements = [Requirement.parse(text) for text in require or ()]
    label = None if harmful is None else harmful == "yes"
    chosen = None if judge is None else parse_judge(judge)
    console = Console(stderr=as_json)
    if answers is not None:
        if model is not None or benchmark or requests or attack or out is not None:
            raise CadaError(
                "stored answers come with their requests, and no model is asked",
                where="--answers",
                mend="Leave MODEL, --benchmark, --requests, --attack and --out out",
            )
        marked = FormatStyle(style or FormatStyle.HEADINGS)
        result = evaluate_stored(answers, parts(columns), label, marked, chosen)
    elif model is None:
        raise CadaError(
            "there is nothing to measure",
            where="MODEL",
            mend="Name a model, or stored answers with --answers FILE",
        )
    else:
        own = Columns(text=text_column) if text_column else None
        named = requests or ([] if benchmark else ["embedded:test"])
        sources = benchmark_sources(benchmark, data) + [
            parse_source(s, None if s.startswith("embedded") else own, harmful=label) for s in named
        ]
        job = Evaluation(
            model=model,
            sources=sources,
            api=base_url is not None or (model.startswith("openai/") if api is None else api),
            base_url=base_url,
            prefill=prefill,
            attacks=tuple(dict.fromkeys(attack or ["none"])),
            where=conditions(where),
            modes=tuple(dict.fromkeys(map(str, mode or [RolloutMode.NONE, RolloutMode.CASES]))),
            casebook=casebook,
            prompting=prompting_of(model, style).model_copy(update={"classify": classify}),
            max_tokens=max_tokens,
            limit=limit,
            canary=canary,
            device=device,
            judge=chosen or parse_judge("refusal"),
        )
        with ConsoleWatcher(console) as watcher:
            result = evaluate(job, out, watcher)
    findings = check(requirements, result.rows)
    if as_json:
        gate = [{"text": str(f), "holds": f.holds} for f in findings]
        typer.echo(json.dumps(result.as_dict() | ({"require": gate} if gate else {})))
    else:
        _show(console, result.rows)
        show_cost(console, result.judge)
    for finding in findings:
        style_ = "green" if finding.holds else "red"
        Console(stderr=True).print(str(finding), style=style_, markup=False, highlight=False)
    if not all(finding.holds for finding in findings):
        raise typer.Exit(GATE_FAILED)


def _show(console: Console, rows: "list[Row]") -> None:
    """A block for each set, attack and mode; hazards have rows in evaluation.json alone."""
    several = len({row.model for row in rows}) > 1
    table = Table(box=box.SIMPLE)
    table.add_column("", no_wrap=True)
    for name in ("value", "95 %", "n", "unscored"):
        table.add_column(name, justify="right", no_wrap=True)
    above = ""
    for r in rows:
        if r.hazard is not None:
            continue
        place = [r.benchmark, f"mode {r.mode}", *([r.attack] if r.attack != "none" else [])]
        title = ", ".join([r.model, *place] if several else place)
        if title != above:
            if above:
                table.add_section()
            table.add_row(f"[bold]{escape(title)}[/]")
            above = title
        value = "–" if r.value is None else f"{r.value:.3f}"
        interval = "–" if r.ci_low is None else f"{r.ci_low:.2f}–{r.ci_high:.2f}"
        table.add_row(f"  {r.metric}", value, interval, str(r.n), str(r.n_unscored))
    console.print(table)
