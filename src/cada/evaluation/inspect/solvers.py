"""Attacks and prompt modes as solvers."""

from functools import cache
from typing import TYPE_CHECKING

from inspect_ai.model import ChatMessageAssistant, get_model
from inspect_ai.solver import Generate, Solver, solver

from cada.attacks.named import attempts_of
from cada.casebook.loader import load_casebook
from cada.config.recipe import Prompting
from cada.errors import CadaError
from cada.evaluation.api import GO_ON, Prefill, to_messages
from cada.evaluation.inspect.names import named, told_in_one_line
from cada.evaluation.inspect.provider import is_ours
from cada.evaluation.inspect.samples import attempt_of, request_of
from cada.evaluation.targets import CASES_SEED
from cada.models.trained import prompting_of
from cada.prompting.deliberation import FormatStyle
from cada.prompting.messages import Mode
from cada.rollout.conversations import Composer

if TYPE_CHECKING:
    from inspect_ai.solver import TaskState

HOW = "prompt"
"""Where a sample's metadata says how it was prompted: mode and style."""

PROBLEM = "problem"
"""Where a sample's metadata says why the model was not asked."""


@solver(name=named("attack"))
def attack(name: str = "none") -> Solver:
    """Put the request in an attack's words.

    Args:
        name: as `cada evaluate --attack` takes it.
    """

    async def solve(state: "TaskState", generate: Generate) -> "TaskState":
        style = FormatStyle(_prompting().style)
        (made,) = attempts_of(name, [request_of(state)], style)
        state.metadata |= {"attack": made.attack, "sent": made.text, "prefill": made.prefill}
        state.user_prompt.text = made.text
        return state

    return solve


@solver(name=named("prompt"))
def prompt(mode: str = "none", casebook: str = "default", classify: bool = False) -> Solver:
    """Build the messages of a prompt mode around the request.

    A local model that was trained here is prompted as in its training.

    Args:
        mode: one of the five prompt modes.
        casebook: `default`, a folder or a YAML file.
        classify: requests without a hazard see the code and cases of the one that the offline
            classifier finds.
    """
    with told_in_one_line():
        check_mode(mode)
        book = load_casebook(casebook)

    async def solve(state: "TaskState", generate: Generate) -> "TaskState":
        prompting = _prompting().model_copy(update={"classify": classify})
        attempt = attempt_of(state)
        composer = Composer(book, prompting)
        conversation = composer.conversation(attempt.sent, mode, CASES_SEED)
        state.metadata[HOW] = {"mode": mode, "style": str(composer.style)}
        state.messages = to_messages(conversation.messages)
        return state

    return solve


@solver(name=named("respond"))
def respond(prefill: Prefill = "refuse") -> Solver:
    """Let the model answer, after the attack's prefill if it has one.

    Args:
        prefill: what is done with text put into the model's mouth where the model is not one of
            ours, which go on from it (see `cada.evaluation.api.ApiOptions`).
    """

    async def solve(state: "TaskState", generate: Generate) -> "TaskState":
        begun = state.metadata.get("prefill")
        if not begun:
            return await generate(state)
        ours = is_ours(get_model().api)
        if prefill == "refuse" and not ours:
            state.metadata[PROBLEM] = (
                "the model is not known to go on from a prefill (tell it with -T prefill=…)"
            )
            return state
        state.messages.append(ChatMessageAssistant(content=begun))
        extra = {"extra_body": GO_ON} if prefill == "continue_final_message" and not ours else {}
        return await generate(state, **extra)

    return solve


def check_mode(mode: str) -> None:
    """See that there is such a prompt mode.

    Raises:
        CadaError: there is none.
    """
    if mode not in list(Mode):
        raise CadaError(
            f"there is no prompt mode {mode!r}", where="mode", mend=f"Use {', '.join(Mode)}"
        )


def _prompting() -> Prompting:
    """How the model at hand is prompted."""
    api = get_model().api
    return _trained(api.model_name) if is_ours(api) else Prompting()


@cache
def _trained(model: str) -> Prompting:
    return prompting_of(model)
