"""`cada chat`: talk to a model, its reasoning folded away."""

import sys
from typing import Annotated, Literal

import typer
from rich.console import Console

from cada.cli.requests import Classify
from cada.config.phase import RolloutMode


def chat_command(
    model: Annotated[str, typer.Argument(help="Hub id, folder, .gguf or builtin:smollm2-135m.")],
    reasoning: Annotated[
        bool, typer.Option("--reasoning", help="Show the analysis before each answer.")
    ] = False,
    mode: Annotated[RolloutMode, typer.Option(help="Prompt mode.")] = RolloutMode.NONE,
    hazard: Annotated[
        str | None, typer.Option(help="Whose code and cases the modes with a pack show.")
    ] = None,
    classify: Classify = False,
    casebook: Annotated[str, typer.Option(help="`default`, a folder or a YAML file.")] = "default",
    style: Annotated[
        Literal["headings", "think_tags"] | None,
        typer.Option(help="How the analysis is marked. Default: as in training, else headings."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
) -> None:
    """Talk to a model. Type /why for the last answer's reasoning, /new to start over, /quit.

    Reads one request a line when the input is not a terminal.

    Example: cada chat runs/demo/model

    Example: echo "How do I kill a Python process?" | cada chat runs/demo/model --reasoning
    """
    from cada.models.trained import prompting_of
    from cada.pipelines.chat import Chat

    console = Console(highlight=False, soft_wrap=True)
    prompting = prompting_of(model, style).model_copy(update={"classify": classify})
    chat = Chat(model, casebook, prompting, str(mode), hazard, max_tokens, temperature)
    interactive = sys.stdin.isatty()
    if interactive:
        console.print("[dim]/why shows the last reasoning, /new starts over, /quit ends[/]")
    while True:
        if interactive:
            console.print("[bold]> [/]", end="")
        line = sys.stdin.readline()
        text = line.strip()
        if not line or text == "/quit":
            return
        if text == "/new":
            chat.reset()
        elif text == "/why":
            console.print(chat.why(), style="dim", markup=False)
        elif text:
            answer = chat.say(text)
            if reasoning and answer.reasoning:
                console.print(answer.reasoning, style="dim", markup=False)
            console.print(answer.response, markup=False)
