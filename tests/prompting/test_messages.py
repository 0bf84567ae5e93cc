"""Prompt modes: what each puts before a request, and what of it is shared."""

from dataclasses import replace
from typing import Literal

import pytest

from cada.casebook.schema import Case, Casebook, CaseKind, Hazard, SafetyCode
from cada.errors import CadaError
from cada.prompting.deliberation import FormatStyle, parse
from cada.prompting.messages import Mode, PromptOptions, build
from cada.requests.types import Request, Turn


def _case(hazard: str, number: int) -> Case:
    return Case(
        id=f"{hazard}-{number}",
        hazard=hazard,
        kind=CaseKind.REFUSE if number % 2 else CaseKind.COMPLY,
        request=f"{hazard} request {number}",
        reasoning=f"{hazard} reasoning {number}",
        response=f"{hazard} response {number}",
    )


def _hazard(number: int, hazard: str, rules: tuple[str, ...]) -> Hazard:
    return Hazard(
        id=hazard,
        number=number,
        name=hazard.capitalize(),
        summary=f"{hazard} summary",
        code=SafetyCode(
            short=f"{hazard} short code", rules=rules, examples=(f"{hazard} example bullet",)
        ),
        cases=tuple(_case(hazard, n) for n in (1, 2, 3)),
    )


BOOK = Casebook(
    name="small",
    version="1",
    licence="Apache-2.0",
    code="The overall short code.",
    objectives=("objective one",),
    defaults=("default one",),
    style=("style one",),
    hazards=(
        _hazard(1, "privacy", ("privacy first rule", "privacy second rule")),
        _hazard(2, "hate", ()),
    ),
)
CASES = BOOK.hazard("privacy").cases
REQUEST = Request("r1", "Where does she live?", harmful=True, hazard="privacy", source="test")
LONG = [Mode.CODES, Mode.CATEGORY_CODES]
PACKED = [mode for mode in Mode if mode is not Mode.NONE]
HISTORY = (Turn("user", "Hello"), Turn("assistant", "Hi"))
OPTIONS = PromptOptions()


def _system(request: Request, mode: Mode, options: PromptOptions = OPTIONS) -> str:
    first = build(request, mode, BOOK, CASES, options).messages[0]
    assert first.role == "system"
    return first.content


def test_mode_none_is_the_bare_request() -> None:
    talk = build(REQUEST, Mode.NONE, BOOK, CASES, replace(OPTIONS, hint=True))
    assert talk.messages == (Turn("user", REQUEST.text),)
    assert talk.pack_length == 0


def test_mode_none_keeps_the_requests_own_context() -> None:
    request = replace(REQUEST, system="Be terse.", history=HISTORY)
    talk = build(request, Mode.NONE, BOOK, (), OPTIONS)
    assert talk.messages == (
        Turn("system", "Be terse."),
        *HISTORY,
        Turn("user", REQUEST.text),
    )
    assert talk.pack_length == 0


@pytest.mark.parametrize("mode", PACKED)
def test_the_request_comes_last_and_the_format_is_asked_for(mode: Mode) -> None:
    talk = build(replace(REQUEST, history=HISTORY), mode, BOOK, CASES, OPTIONS)
    assert talk.messages[-3:] == (*HISTORY, Turn("user", REQUEST.text))
    assert talk.pack_length == len(talk.messages) - 3
    assert '"Analysis:"' in talk.messages[0].content
    assert '"Final response:"' in talk.messages[0].content


@pytest.mark.parametrize("mode", PACKED)
@pytest.mark.parametrize("cases_as", ["turns", "inline"])
def test_the_shared_messages_are_equal_for_all_requests_of_a_pack(
    mode: Mode, cases_as: str
) -> None:
    options = PromptOptions(cases_as="turns" if cases_as == "turns" else "inline", hint=True)
    other = Request("r2", "Who is he?", harmful=False, hazard="privacy", source="t")
    talks = [
        build(request, mode, BOOK, CASES, options)
        for request in (REQUEST, other, replace(other, history=HISTORY))
    ]
    packs = {talk.messages[: talk.pack_length] for talk in talks}
    assert len(packs) == 1
    assert packs.pop()


@pytest.mark.parametrize("style", FormatStyle)
@pytest.mark.parametrize("cases_as", ["turns", "inline"])
def test_a_verdict_is_asked_for_and_opens_every_case(
    style: FormatStyle, cases_as: Literal["turns", "inline"]
) -> None:
    options = PromptOptions(style=style, cases_as=cases_as)
    plain = build(REQUEST, Mode.CASES, BOOK, CASES, options)
    asked = build(REQUEST, Mode.CASES, BOOK, CASES, replace(options, verdict=True))
    assert 'say "Harmful." or "Harmless."' in asked.messages[0].content
    assert "Harmful." not in "".join(turn.content for turn in plain.messages)
    text = "\n".join(turn.content for turn in asked.messages[: asked.pack_length])
    for case in CASES:
        word = "Harmful." if case.kind is CaseKind.REFUSE else "Harmless."
        assert f"{word} {case.reasoning}" in text


def test_minimal_holds_the_short_code_alone() -> None:
    text = _system(REQUEST, Mode.MINIMAL)
    assert text.startswith(BOOK.code)
    assert "privacy" not in text


def test_codes_hold_all_four_tiers_with_one_rule_a_hazard() -> None:
    text = _system(REQUEST, Mode.CODES)
    for part in ("objective one", "privacy first rule", "hate short code", "default one"):
        assert part in text
    assert "style one" in text
    assert "second rule" not in text
    assert "example bullet" not in text


def test_category_codes_hold_one_hazard_in_full() -> None:
    text = _system(REQUEST, Mode.CATEGORY_CODES)
    for part in ("objective one", "privacy first rule", "privacy second rule", "default one"):
        assert part in text
    assert "privacy example bullet" in text
    assert "style one" in text
    assert "hate" not in text


def test_category_codes_without_rules_fall_back_to_the_short_code() -> None:
    assert "hate short code" in _system(replace(REQUEST, hazard="hate"), Mode.CATEGORY_CODES)


def test_without_a_hazard_category_codes_are_codes_and_cases_use_the_overall_code() -> None:
    request = replace(REQUEST, hazard=None)
    assert _system(request, Mode.CATEGORY_CODES) == _system(request, Mode.CODES)
    assert _system(request, Mode.CASES).startswith(BOOK.code)


@pytest.mark.parametrize("style", list(FormatStyle))
def test_cases_become_earlier_turns_in_the_deliberation_format(style: FormatStyle) -> None:
    talk = build(REQUEST, Mode.CASES, BOOK, CASES[:2], replace(OPTIONS, style=style))
    assert [turn.role for turn in talk.messages] == [
        "system", "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    assert talk.pack_length == 5
    assert talk.messages[0].content.startswith("privacy short code")
    for case, asked, answered in zip(CASES, talk.messages[1::2], talk.messages[2::2], strict=False):
        parsed = parse(answered.content, style)
        assert asked.content == case.request
        assert (parsed.reasoning, parsed.response) == (case.reasoning, case.response)
        assert ("<think>" in answered.content) == (style is FormatStyle.THINK_TAGS)


def test_cases_inline_stand_in_the_system_text_in_their_order() -> None:
    talk = build(REQUEST, Mode.CASES, BOOK, CASES, replace(OPTIONS, cases_as="inline"))
    assert [turn.role for turn in talk.messages] == ["system", "user"]
    assert talk.pack_length == 1
    places = [talk.messages[0].content.index(case.request) for case in CASES]
    assert places == sorted(places)
    assert all(case.response in talk.messages[0].content for case in CASES)


@pytest.mark.parametrize("mode", [m for m in PACKED if m is not Mode.CASES])
def test_only_mode_cases_shows_cases(mode: Mode) -> None:
    assert build(REQUEST, mode, BOOK, CASES, OPTIONS) == build(REQUEST, mode, BOOK, (), OPTIONS)


def test_think_tags_are_asked_for_by_name() -> None:
    text = _system(REQUEST, Mode.MINIMAL, replace(OPTIONS, style=FormatStyle.THINK_TAGS))
    assert "<think>" in text
    assert "Analysis:" not in text


@pytest.mark.parametrize("mode", PACKED)
def test_the_requests_own_system_prompt_is_kept_and_nothing_is_shared(mode: Mode) -> None:
    request = replace(REQUEST, system="Be terse.")
    talk = build(request, mode, BOOK, CASES, OPTIONS)
    assert talk.messages[0].content == f"{_system(REQUEST, mode)}\n\nBe terse."
    assert talk.pack_length == 0


@pytest.mark.parametrize("mode", PACKED)
def test_the_hint_names_the_hazard_beside_the_request(mode: Mode) -> None:
    options = replace(OPTIONS, hint=True)

    def asked(request: Request) -> str:
        return build(request, mode, BOOK, CASES, options).messages[-1].content

    assert asked(REQUEST) == f"{REQUEST.text}\n\n[Hazard: privacy]"
    assert asked(replace(REQUEST, harmful=False)) == f"{REQUEST.text}\n\n[Hazard: none]"
    assert asked(replace(REQUEST, hazard=None)) == REQUEST.text


def test_without_a_system_role_the_text_opens_the_first_user_message() -> None:
    options = replace(OPTIONS, system_role=False)
    text = _system(REQUEST, Mode.CASES)
    talk = build(REQUEST, Mode.CASES, BOOK, CASES[:1], options)
    assert [turn.role for turn in talk.messages] == ["user", "assistant", "user"]
    assert talk.messages[0].content == f"{text}\n\n{CASES[0].request}"
    assert talk.messages[-1].content == REQUEST.text
    assert talk.pack_length == 2


def test_without_a_system_role_and_cases_nothing_is_shared() -> None:
    options = replace(OPTIONS, system_role=False)
    talk = build(REQUEST, Mode.MINIMAL, BOOK, (), options)
    expected = f"{_system(REQUEST, Mode.MINIMAL)}\n\n{REQUEST.text}"
    assert talk.messages == (Turn("user", expected),)
    assert talk.pack_length == 0


@pytest.mark.parametrize("mode", LONG)
def test_empty_tiers_leave_no_empty_headings(mode: Mode) -> None:
    book = BOOK.model_copy(update={"objectives": (), "defaults": (), "style": ()})
    text = build(REQUEST, mode, book, (), OPTIONS).messages[0].content
    for heading in ("Objectives:", "Defaults:", "Style:"):
        assert heading not in text


@pytest.mark.parametrize("mode", PACKED)
def test_an_unknown_hazard_is_told_in_one_line(mode: Mode) -> None:
    with pytest.raises(CadaError) as caught:
        build(replace(REQUEST, hazard="magic"), mode, BOOK, (), OPTIONS)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("r1", "magic", "small", "privacy, hate"):
        assert part in message
