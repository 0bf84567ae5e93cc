"""`cada judge`: verdicts on a file of answers, or how far the judge agrees with people."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cada.config.judge import parse_judge
from cada.errors import CadaError

JUDGE = typer.Option(
    "--judge",
    help="KIND[,NAME=VALUE…]: refusal or harm (offline); strongreject or refusal_rubric with "
    "model=NAME, over an API; wildguard, llama_guard_3, llama_guard_4, harmbench or "
    "strongreject_gemma, from the hub.",
)
JudgeOption = Annotated[str, JUDGE]


def judge_command(
    answers: Annotated[
        Path | None, typer.Argument(help="Answers to judge: csv, jsonl, json or parquet.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--check", help="Labelled answers: report the agreement with people."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns",
            help="PART=NAME[,PART=NAME…] with the parts request, response, label (an outcome), "
            "jailbroken (1 or 0) and model.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The .jsonl to write the verdicts to.")
    ] = None,
    correct: Annotated[
        Path | None,
        typer.Option(
            "--correct", help="Labelled answers: correct the rates for the judge's known errors."
        ),
    ] = None,
    judge: JudgeOption = "refusal",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Did these answers refuse, help in part, comply, or answer nothing?

    Reads the columns request and response (or prompt and completion, goal and target_response).

    Example: cada judge answers.jsonl --out verdicts.jsonl

    Example: cada judge --check labelled.csv --columns request=q,response=a,label=human
    """
    from cada.files import write_text
    from cada.judging import make
    from cada.judging.agreement import check
    from cada.judging.labels import read_answers, read_labelled
    from cada.reporting import judged

    named = parts(columns)
    options = parse_judge(judge)
    if (answers is None) == (labels is None):
        raise CadaError(
            "either a file of answers or --check with labelled ones is needed, and only one",
            where="FILE",
            mend="For example: cada judge answers.jsonl, or cada judge --check labelled.csv",
        )
    console = Console(highlight=False)
    if labels is not None:
        if out is not None or correct is not None:
            raise CadaError(
                "--out and --correct go with a file of answers",
                where="--check",
                mend="Leave them out",
            )
        answered = read_labelled(labels, named)
        made = make.make_judge(options)
        agreement = check(made, answered)
        if as_json:
            typer.echo(json.dumps({**agreement.as_dict(), "cost": make.cost(made)}))
        else:
            judged.show_agreement(console, agreement)
            show_cost(console, make.cost(made))
        return
    assert answers is not None
    rows = read_answers(answers, {k: v for k, v in named.items() if k in ("request", "response")})
    others = {k: v for k, v in named.items() if k not in ("request", "response")}
    people = read_labelled(correct, named if others else None) if correct is not None else None
    if out is not None:
        judged.check_columns(rows, answers)
    made = make.make_judge(options)
    known = check(made, people) if people is not None else None
    verdicts = made.judge_all([(row.request, row.response) for row in rows])
    if out is not None:
        write_text(out, judged.lines(rows, verdicts))
    counted = judged.count(made.name, verdicts, known)
    if as_json:
        typer.echo(json.dumps({**counted.as_dict(), "cost": make.cost(made)}))
    else:
        judged.show_counts(console, counted)
        show_cost(console, make.cost(made))


def show_cost(console: Console, cost: dict[str, float | str | None] | None) -> None:
    """What was sent on and what it cost, of a judge that asks somebody."""
    if cost is None:
        return
    if "share_sent" in cost:
        console.print(f"{cost['share_sent']:.1%} were sent on to {cost['judge']}", markup=False)
    if "calls" in cost:
        price = "" if cost["cost"] is None else f", cost {cost['cost']:.4g}"
        console.print(
            f"{cost['calls']} calls, {cost['cached']} kept replies, {cost['failed']} failed{price}",
            markup=False,
        )


def parts(given: list[str] | None) -> dict[str, str]:
    """Part → column, from `PART=NAME[,PART=NAME…]` options."""
    pairs = [pair for text in given or () for pair in text.split(",")]
    named = {}
    for pair in pairs:
        part, separator, name = pair.partition("=")
        if not separator or not part or not name:
            raise CadaError(
                f"'{pair}' is not PART=NAME", where="--columns", mend="Write response=answer"
            )
        named[part.strip()] = name.strip()
    return named
