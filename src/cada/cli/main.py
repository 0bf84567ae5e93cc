"""The command line's root: every command, and the one place where errors become one line."""

import logging
import os
import sys
import warnings
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from cada import __version__
from cada.cli import (
    align,
    attack,
    casebook,
    chat,
    compare,
    evaluate,
    export,
    judge,
    requests,
    study,
    utility,
)
from cada.errors import CadaError

# typer ends an interrupted command with this code instead of raising.
_INTERRUPTED = 130

app = typer.Typer(
    help="CADA: make an open language model safe without refusing what is fine.",
    epilog="Start here: cada align recipes/demo.yaml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("align")(align.align_command)
app.command("evaluate")(evaluate.evaluate_command)
app.command("compare")(compare.compare_command)
app.command("study")(study.study_command)
app.command("utility")(utility.utility_command)
app.command("judge")(judge.judge_command)
app.command("chat")(chat.chat_command)
app.command("export")(export.export_command)
app.add_typer(attack.app, name="attack")
app.add_typer(casebook.app, name="casebook")
app.add_typer(requests.app, name="requests")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and logs.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Options of every command."""
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR, format="%(message)s")
    if not debug and not sys.warnoptions:  # of libraries about one another
        warnings.simplefilter("ignore", FutureWarning)


def run() -> None:
    """The `cada` command. Exit codes: 0 done, 1 a bug, 2 bad input, 3 a requirement is not met,
    130 interrupted."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    debug = "--debug" in sys.argv
    console = Console(stderr=True, soft_wrap=True)
    try:
        code = app(standalone_mode=False)
    except CadaError as error:
        if debug:
            raise
        console.print(f"error: {error}", markup=False, highlight=False)
        code = 2
    except TyperException as error:
        message = error.format_message().rstrip(".")
        console.print(f"error: {message}. See --help.", markup=False, highlight=False)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:
        if debug:
            raise
        kind = type(error).__name__
        console.print(
            f"error: {kind}: {error}. This is a bug: run cada --debug … and report it.",
            markup=False,
            highlight=False,
        )
        code = 1
    if code == _INTERRUPTED:
        console.print("interrupted; what is saved is whole, and the same command goes on from it")
    _end(code if isinstance(code, int) else 0)


def _end(code: int) -> NoReturn:
    if "cada.models.parallel" in sys.modules:  # else there is one process
        from cada.models.parallel import leave_for_good

        leave_for_good(code)
    sys.exit(code)
