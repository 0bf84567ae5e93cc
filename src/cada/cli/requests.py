"""`cada requests`: build a training set, show what a source holds."""

import importlib
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from cada.casebook.loader import load_casebook
from cada.config.judge import parse_chat
from cada.config.sources import Columns, RequestSource
from cada.errors import CadaError
from cada.requests.benchmarks import benchmark_source
from cada.requests.build import (
    BEAVERTAILS,
    BEAVERTAILS_WHERE,
    BuildOptions,
    BuildReport,
    Classifier,
    build,
    report_json,
)
from cada.requests.embedded import SPLITS
from cada.requests.hazards import PAPER_HAZARDS
from cada.requests.sources import load_requests
from cada.requests.types import Request

app = typer.Typer(
    help="Requests to train and measure on: build a set, show a source.", no_args_is_help=True
)

SOURCE_HELP = "FILE.csv|jsonl|json|parquet, hub:ORG/NAME, or embedded:train|validation|test"
Text = Annotated[str | None, typer.Option("--text-column", help="Column with the requests.")]
Hazard = Annotated[
    str | None, typer.Option("--hazard-column", help="Column with ids, names or numbers 0-13.")
]
Harmful = Annotated[
    Literal["yes", "no"] | None,
    typer.Option("--harmful", help="Label of the rows that no column labels."),
]
HarmfulColumn = Annotated[
    str | None, typer.Option("--harmful-column", help="Column with harmful/harmless or the like.")
]
Split = Annotated[
    str | None, typer.Option("--split", help="Split of a hub data set. Default: train.")
]
Subset = Annotated[str | None, typer.Option("--subset", help="Configuration of a hub data set.")]
Classify = Annotated[
    bool,
    typer.Option(
        "--classify", help="In modes with a pack: find the hazard of requests that have none."
    ),
]
Where = Annotated[
    list[str] | None, typer.Option("--where", help="Keep rows with COLUMN=VALUE. Repeatable.")
]
CasebookOption = Annotated[str, typer.Option(help="`default`, a folder or a YAML file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


@app.command("build")
def build_command(
    out: Annotated[Path, typer.Option("--out", help="The .jsonl to write.")],
    source: Annotated[
        str | None, typer.Argument(help=f"{SOURCE_HELP}. Default: BeaverTails, with --classify.")
    ] = None,
    text_column: Text = None,
    hazard_column: Hazard = None,
    classify: Annotated[
        str | None,
        typer.Option(
            help="What labels the texts, if there is no hazard column: offline, or weights of your "
            "own (.safetensors); llm,model=NAME[,NAME=VALUE…], over an API; or MODULE:FUNCTION."
        ),
    ] = None,
    split: Split = None,
    subset: Subset = None,
    where: Where = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude", help=f"Drop what this test set holds: {SOURCE_HELP}. Repeatable."
        ),
    ] = None,
    total: Annotated[int, typer.Option(help="Requests to write.")] = 500,
    cap: Annotated[int, typer.Option(help="At most so many a hazard.")] = 50,
    threshold: Annotated[
        float, typer.Option(help="Similarity of word 3-grams from which two requests are one.")
    ] = 0.6,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="Fill up with copies when unique requests run out.")
    ] = False,
    harmless: Annotated[
        bool,
        typer.Option(
            "--harmless", help="Take the requests labelled harmless (0) instead of the harmful."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sample harmful requests evenly over the hazards, without duplicates and test items.

    Writes OUT and a report of what was dropped, and why, beside it.

    Example: cada requests build beavertails.csv --hazard-column category_number
    --exclude advbench.csv --out train.jsonl
    """
    columns = Columns(text=text_column, hazard=hazard_column)
    if source is not None:
        chosen = parse_source(source, columns, harmful=True, split=split, subset=subset)
        rows_where = conditions(where)
    elif text_column or hazard_column or split or subset or where:
        raise CadaError(
            "column, split and row options describe a source, and none is given",
            where="SOURCE",
            mend="Name the source, or leave these options out to build from BeaverTails",
        )
    elif classify is None:
        raise CadaError(
            "BeaverTails has no hazard labels",
            where="SOURCE",
            mend="Label it with --classify offline, or name a file with a hazard column",
        )
    else:
        chosen, rows_where = BEAVERTAILS, dict(BEAVERTAILS_WHERE)
    report = build(
        chosen,
        out,
        BuildOptions(total, cap, seed, threshold, repeat, harmless),
        tests=[parse_source(test) for test in exclude or ()],
        classify=_classifier(classify) if classify else None,
        where=rows_where,
        force=force,
    )
    if as_json:
        _print_json(report_json(report, drops=False))
    else:
        _print_report(report, out)


@app.command("show")
def show_command(
    source: Annotated[str, typer.Argument(help=f"{SOURCE_HELP}; embedded alone is all splits.")],
    text_column: Text = None,
    hazard_column: Hazard = None,
    harmful_column: HarmfulColumn = None,
    harmful: Harmful = None,
    split: Split = None,
    subset: Subset = None,
    where: Where = None,
    casebook: CasebookOption = "default",
    as_json: AsJson = False,
) -> None:
    """Count a source's requests by hazard, kind and split; a bad source is told in one line.

    Example: cada requests show embedded

    Example: cada requests show xstest.csv --harmful-column label

    Example: cada requests show mine.jsonl --casebook my-casebook
    """
    policy = load_casebook(casebook)
    columns = Columns(text=text_column, hazard=hazard_column, harmful=harmful_column)
    label = None if harmful is None else harmful == "yes"
    splits = {source: source}
    if source == "embedded":
        splits = {split: f"embedded:{split}" for split in SPLITS}
    counts = {
        name: _tally(
            load_requests(
                parse_source(one, columns, harmful=label, split=split, subset=subset),
                policy,
                conditions(where),
            )
        )
        for name, one in splits.items()
    }
    if as_json:
        _print_json(counts)
    else:
        _print_counts(counts)


def parse_source(
    text: str,
    columns: Columns | None = None,
    *,
    harmful: bool | None = None,
    split: str | None = None,
    subset: str | None = None,
) -> RequestSource:
    """A source from the command line: `embedded:SPLIT`, `hub:ID`, or a file's path."""
    kind, colon, rest = text.partition(":")
    fields: dict[str, Any] = {"columns": columns, "harmful": harmful}
    fields |= {"split": split, "subset": subset}
    if kind == "embedded":
        fields |= {"embedded": True, "split": rest if colon else "train", "harmful": None}
    elif kind == "hub" and rest:
        fields["hub"] = rest
    else:
        fields["path"] = text
    return RequestSource(**{name: value for name, value in fields.items() if value is not None})


BENCHMARK = typer.Option(
    "--benchmark",
    "-b",
    help="strongreject, advbench, jailbreakbench, jailbreakbench-benign, xstest-safe, "
    "xstest-contrast, hex-phi or embedded. Repeatable.",
)
DATA = typer.Option("--data", help="Folder of benchmarks. Default: fetch the published files.")


def benchmark_sources(names: list[str] | None, data: Path | None) -> list[RequestSource]:
    """The sources of the benchmarks named on the command line; `embedded` is its test split."""
    folder = None if data is None else str(data)
    return [benchmark_source(name, folder) for name in dict.fromkeys(names or ())]


def conditions(where: list[str] | None) -> dict[str, bool | int | str]:
    """Row conditions from `COLUMN=VALUE` options."""
    found: dict[str, bool | int | str] = {}
    for condition in where or ():
        column, equals, value = condition.partition("=")
        if not equals or not column:
            raise CadaError(
                f"'{condition}' is not COLUMN=VALUE",
                where="--where",
                mend="Write it like --where label=safe",
            )
        found[column] = value
    return found


def _classifier(name: str) -> Classifier:
    from cada.judging.hazards import HazardClassifier
    from cada.judging.make import ask_chat
    from cada.judging.rubric import HazardRubric

    if name == "offline" or name.endswith(".safetensors"):
        classifier = HazardClassifier.read(None if name == "offline" else Path(name))
        return lambda texts: [classifier.classify(text).number for text in texts]
    kind, *pairs = name.split(",")
    if kind == "llm":
        chat = ask_chat(parse_chat(pairs, "--classify"))
        return HazardRubric(chat, load_casebook("default")).label_all
    return _imported(name)


def _imported(name: str) -> Classifier:
    module, colon, attribute = name.partition(":")
    # a console script does not look in the folder it is called from
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute) if colon else None
    except (ImportError, AttributeError) as error:
        raise CadaError(
            f"cannot be imported ({error})",
            where=f"--classify {name}",
            mend="Give MODULE:FUNCTION that can be imported from this folder",
        ) from error
    finally:
        sys.path.pop(0)
    if not callable(found):
        raise CadaError(
            "is not a function",
            where=f"--classify {name}",
            mend="Give MODULE:FUNCTION; it takes a list of texts and returns their labels",
        )
    classifier: Classifier = found
    return classifier


def _tally(requests: list[Request]) -> dict[str, dict[str, int]]:
    """Hazard → kind → count, the paper's hazards first; no hazard is `none`, and last."""
    order = [hazard.id for hazard in PAPER_HAZARDS]
    found = {request.hazard for request in requests}
    own = sorted(hazard for hazard in found if hazard is not None and hazard not in order)
    return {
        hazard or "none": dict(Counter(r.kind for r in requests if r.hazard == hazard))
        for hazard in [*order, *own, None]
        if hazard in found
    }


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _print_counts(counts: Mapping[str, dict[str, dict[str, int]]]) -> None:
    for name, by_hazard in counts.items():
        present = {kind for kinds in by_hazard.values() for kind in kinds}
        kinds = [kind for kind in ("harmful", "lookalike", "ordinary") if kind in present]
        typer.echo(name)
        table = Table()
        table.add_column("hazard")
        for kind in kinds:
            table.add_column(kind, justify="right")
        for hazard, numbers in by_hazard.items():
            table.add_row(hazard, *(str(numbers.get(kind, "")) for kind in kinds))
        table.add_section()
        totals = [sum(numbers.get(kind, 0) for numbers in by_hazard.values()) for kind in kinds]
        table.add_row("all", *map(str, totals))
        Console().print(table)


def _print_report(report: BuildReport, out: Path) -> None:
    table = Table()
    table.add_column("hazard")
    table.add_column("available", justify="right")
    table.add_column("written", justify="right")
    for hazard, number in report.available.items():
        table.add_row(hazard, str(number), str(report.written_by_hazard.get(hazard, 0)))
    Console().print(table)
    labelled, dropped = report.labelled, report.dropped
    typer.echo(
        f"{report.rows} rows: {labelled['hazard']} with a hazard, {labelled['harmless']} labelled "
        f"harmless, {labelled['no_hazard']} with none of the hazards"
    )
    typer.echo(
        f"dropped: {dropped['exact_duplicate']} exact and {dropped['near_duplicate']} near "
        f"duplicates, {dropped['test_overlap']} that a test set holds"
    )
    asked = report.options.total
    short = f" ({asked} were asked for; --repeat fills up)" if report.written < asked else ""
    typer.echo(f"wrote {report.written} requests, {report.unique} unique, to {out}{short}")
