"""Prompt modes: a request, and what stands before it, as chat messages.

Everything that requests of one hazard have in common (the code, the format and the cases) comes
before the request, so that an engine computes it once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from cada.casebook.schema import Case, Casebook, CaseKind, Hazard
from cada.errors import CadaError
from cada.prompting.deliberation import HARMFUL, HARMLESS, FormatStyle, render, verdict_word
from cada.requests.types import Request, Turn


class Mode(StrEnum):
    """What a prompt holds beside the request (METHOD: prompt modes)."""

    NONE = "none"
    MINIMAL = "minimal"
    CODES = "codes"
    CATEGORY_CODES = "category_codes"
    CASES = "cases"


@dataclass(frozen=True)
class PromptOptions:
    """How a prompt is laid out.

    `cases_as`: earlier chat turns, which small models follow best, or a list in the system text,
    for models whose chat template drops the reasoning of earlier turns (most with native think
    tags). `verdict` opens every case's analysis with what it finds, `Harmful.` or `Harmless.`, and
    asks for that. `hint` names the request's hazard beside the request. `system_role` is off for
    models whose chat template knows no system message.
    """

    style: FormatStyle = FormatStyle.HEADINGS
    cases_as: Literal["turns", "inline"] = "turns"
    verdict: bool = False
    hint: bool = False
    system_role: bool = True


@dataclass(frozen=True)
class Conversation:
    """Chat messages, the last one the request.

    The first `pack_length` messages are the same for every request with the same pack.
    """

    messages: tuple[Turn, ...]
    pack_length: int


_FORMAT = {
    FormatStyle.HEADINGS: (
        'First write "Analysis:"{verdict} and think about the request in one or two sentences. '
        'Then write "Final response:" and answer.'
    ),
    FormatStyle.THINK_TAGS: (
        "First{verdict} think about the request in one or two sentences between <think> and "
        "</think>. Then answer."
    ),
}
_ASK_VERDICT = {
    FormatStyle.HEADINGS: f', say "{HARMFUL}" or "{HARMLESS}"',
    FormatStyle.THINK_TAGS: f' say "{HARMFUL}" or "{HARMLESS}" and',
}


def build(
    request: Request,
    mode: Mode,
    casebook: Casebook,
    cases: Sequence[Case],
    options: PromptOptions,
) -> Conversation:
    """The conversation that asks `request` under `mode`.

    `cases` are used in mode `cases` alone, in their order. Mode `none` holds the request's own
    system prompt, history and text and nothing else. A request's own system prompt follows ours
    after a blank line; the system message is then its own, and no message is shared.

    Raises:
        CadaError: the request's hazard is not in the casebook.
    """
    own = [*request.history, Turn("user", _request_text(request, mode, casebook, options))]
    if mode is Mode.NONE:
        return _assemble([request.system or ""], [], own, request, options)
    system = [_pack_text(_hazard(request, casebook), mode, casebook, cases, options)]
    if request.system:
        system.append(request.system)
    shown = cases if mode is Mode.CASES and options.cases_as == "turns" else ()
    return _assemble(system, _case_turns(shown, options), own, request, options)


def _assemble(
    system: list[str], pack: list[Turn], own: list[Turn], request: Request, options: PromptOptions
) -> Conversation:
    text = "\n\n".join(part for part in system if part)
    messages = [*pack, *own]
    pack_length = len(pack)
    if text and options.system_role:
        messages = [Turn("system", text), *messages]
        pack_length += 1
    elif text:
        first = next(i for i, turn in enumerate(messages) if turn.role == "user")
        messages[first] = Turn("user", f"{text}\n\n{messages[first].content}")
    return Conversation(tuple(messages), 0 if request.system else pack_length)


def _case_turns(cases: Sequence[Case], options: PromptOptions) -> list[Turn]:
    turns = []
    for case in cases:
        turns.append(Turn("user", case.request))
        turns.append(Turn("assistant", _answer(case, options)))
    return turns


def _answer(case: Case, options: PromptOptions) -> str:
    """A case's reasoning and response, as the model is to write its own."""
    reasoning = case.reasoning
    if options.verdict:
        reasoning = f"{verdict_word(case.kind is CaseKind.REFUSE)} {reasoning}"
    return render(reasoning, case.response, options.style)


def _pack_text(
    hazard: Hazard | None,
    mode: Mode,
    casebook: Casebook,
    cases: Sequence[Case],
    options: PromptOptions,
) -> str:
    """Our own system text: the code of the mode, the format, and the cases when inline."""
    ask = _ASK_VERDICT[options.style] if options.verdict else ""
    instruction = _FORMAT[options.style].format(verdict=ask)
    if mode is Mode.MINIMAL:
        return f"{casebook.code}\n\n{instruction}"
    if mode is Mode.CASES:
        code = hazard.code.short if hazard else casebook.code
        inline = cases if options.cases_as == "inline" else ()
        return "\n\n".join([code, instruction, *_inline_cases(inline, options)])
    if mode is Mode.CATEGORY_CODES and hazard is not None:
        rules = [
            _section(f"Rules on {hazard.name}", hazard.code.rules or (hazard.code.short,)),
            _section("Examples", hazard.code.examples),
        ]
    else:
        rules = [_section("Rules", [_headline(each) for each in casebook.hazards])]
    parts = [
        _section("Objectives", casebook.objectives),
        *rules,
        _section("Defaults", casebook.defaults),
        _section("Style", casebook.style),
        instruction,
    ]
    return "\n\n".join(part for part in parts if part)


def _headline(hazard: Hazard) -> str:
    rule = hazard.code.rules[0] if hazard.code.rules else hazard.code.short
    return f"{hazard.name}: {rule}"


def _section(title: str, items: Sequence[str]) -> str:
    """A titled list; empty when there is nothing to list."""
    return "\n".join([f"{title}:", *(f"- {item}" for item in items)]) if items else ""


def _inline_cases(cases: Sequence[Case], options: PromptOptions) -> list[str]:
    return [
        f"Example {number}\nRequest: {case.request}\n{_answer(case, options)}"
        for number, case in enumerate(cases, start=1)
    ]


def _request_text(request: Request, mode: Mode, casebook: Casebook, options: PromptOptions) -> str:
    if not options.hint or mode is Mode.NONE:
        return request.text
    hazard = _hazard(request, casebook)
    if not request.harmful:
        return f"{request.text}\n\n[Hazard: none]"
    return f"{request.text}\n\n[Hazard: {hazard.name.lower()}]" if hazard else request.text


def _hazard(request: Request, casebook: Casebook) -> Hazard | None:
    if request.hazard is None:
        return None
    try:
        return casebook.hazard(request.hazard)
    except KeyError:
        raise CadaError(
            f"hazard {request.hazard!r} is not in the casebook {casebook.name!r}",
            where=f"request {request.id}",
            mend=f"Use one of {', '.join(each.id for each in casebook.hazards)}",
        ) from None
