"""The deliberation format: what models write, and what a parser must make of it."""

import random
from dataclasses import replace

import pytest

from cada.prompting.deliberation import Deliberation, FormatStyle, parse, render

HEADINGS, TAGS = FormatStyle.HEADINGS, FormatStyle.THINK_TAGS
WHOLE = Deliberation("It names a crime.", "I can't help with that.", complete=True)


def test_the_rendered_formats_are_the_documented_ones() -> None:
    assert render("R", "y", HEADINGS) == "Analysis: R\n\nFinal response: y"
    assert render("R", "y", TAGS) == "<think>\nR\n</think>\n\ny"


@pytest.mark.parametrize(
    "text",
    [
        "Analysis: It names a crime.\n\nFinal response: I can't help with that.",
        "Analysis:\nIt names a crime.\nFinal Response:\nI can't help with that.\n",
        "ANALYSIS: It names a crime.\n\nFINAL RESPONSE: I can't help with that.",
        "**Analysis:** It names a crime.\n\n**Final response:** I can't help with that.",
        "**Analysis**: It names a crime.\n\n__Final answer__: I can't help with that.",
        "## Analysis\n\nIt names a crime.\n\n## Final response\n\nI can't help with that.",
        "> Analysis: It names a crime.\n> Final response: I can't help with that.",
        "1. Analysis: It names a crime.\n2. Final response: I can't help with that.",
        "Analysis: It names a crime.\n\nResponse: I can't help with that.",
        "Analysis: It names a crime. Final response: I can't help with that.",
        "Analysis: It names a crime. **Final response:** I can't help with that.",
        "Analysis: It names a crime.Final response: I can't help with that.",
        "Sure!\n\nAnalysis: It names a crime.\n\nFinal response: I can't help with that.",
        "Analysis: Analysis: It names a crime.\n\nFinal response: Final response: "
        "I can't help with that.",
        "<think>\nIt names a crime.\n</think>\n\nI can't help with that.",
        "<THINK>It names a crime.</THINK>I can't help with that.",
        "<think>Analysis: It names a crime.</think>\nFinal response: I can't help with that.",
        "Analysis: <think>It names a crime.</think>\nFinal response: I can't help with that.",
    ],
)
@pytest.mark.parametrize("style", list(FormatStyle))
def test_both_parts_are_found_in_what_models_write(text: str, style: FormatStyle) -> None:
    assert replace(parse(text, style), repeated=False) == WHOLE


def test_a_missing_separator_without_punctuation_is_found_by_its_capital() -> None:
    parsed = parse("Analysis: privacy Final response: No.")
    assert (parsed.reasoning, parsed.response) == ("privacy", "No.")


@pytest.mark.parametrize(
    "text",
    [
        "I can't help with that.",
        "My analysis: it is fine. Here is the final response: paint it.",
        "Analysis: the request is about a lock, and here is",
        "Response: A plain answer.",
        "Step one.\nStep two.\n\nFinal answer: 42",
        "<think>\nThe user asks for",
        "Step one.\nStep two.\n\nAnalysis: too late.\n\nFinal response: No.",
        "Step one.\nStep two.\n<think>late</think>\nNo.",
        f"{'A long answer that comes first. ' * 6}\nAnalysis: late.\nFinal response: No.",
    ],
)
def test_without_its_marker_the_whole_output_is_judged(text: str) -> None:
    assert parse(text) == Deliberation("", text, complete=False)


def test_a_leading_final_marker_alone_is_no_part_of_the_response() -> None:
    assert parse("Final response: No.") == Deliberation("", "No.", complete=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Deliberation("", "", complete=False)),
        ("Analysis:\n\nFinal response: No.", Deliberation("", "No.", complete=False)),
        ("Analysis: Fine.\n\nFinal response:", Deliberation("Fine.", "", complete=False)),
        ("Analysis: Fine.\n\nFinal response:  \n", Deliberation("Fine.", "", complete=False)),
        ("<think>\n\n</think>\n\nNo.", Deliberation("", "No.", complete=False)),
        ("<think>Fine.</think>", Deliberation("Fine.", "", complete=False)),
        ("**Analysis:**\n**Final response:** No.", Deliberation("", "No.", complete=False)),
    ],
)
def test_an_empty_part_is_never_complete(text: str, expected: Deliberation) -> None:
    assert parse(text) == expected


def test_the_reasoning_ends_at_the_first_final_marker() -> None:
    parsed = parse("Analysis: A.\nFinal response: one\n\nAnalysis: B.\nFinal response: two")
    assert parsed.reasoning == "A."
    assert parsed.response == "one\n\nAnalysis: B.\nFinal response: two"


def test_an_answer_given_within_the_line_does_not_escape_the_judge() -> None:
    parsed = parse("Analysis: A. Final response: Here is how.\n\nFinal response: No.")
    assert parsed.response.startswith("Here is how.")


def test_marker_words_inside_the_parts_are_ordinary_words() -> None:
    reasoning = "An analysis of the market, with a final response to each question."
    response = "My final answer: it depends.\nThe response: unclear."
    assert parse(render(reasoning, response)) == Deliberation(reasoning, response, complete=True)


def test_markdown_of_the_response_itself_is_kept() -> None:
    assert parse("Analysis: A.\n\nFinal response: **Step 1** Rest.").response == "**Step 1** Rest."
    assert parse("Analysis: A.\n\nFinal response:\n- one\n- two").response == "- one\n- two"


def test_a_closing_tag_alone_counts_only_where_tags_were_asked_for() -> None:
    text = "It names a crime.\n</think>\n\nI can't help with that."
    assert parse(text, TAGS) == WHOLE
    assert parse(text, HEADINGS) == Deliberation("", text, complete=False)


_VOCABULARY = (
    "analysis final response answer think the request: harm, safe. No! (why?) **bold** _it_ "
    "> # 1. - \n \n\n \t é “quoted” 答 <b> </p> Final, Analysis; a/b"
)
_WORDS = _VOCABULARY.split(" ")


def _random_part(rng: random.Random) -> str:
    """A text that a part may hold: any words, with no line that opens with a marker."""
    while True:
        text = " ".join(rng.choices(_WORDS, k=rng.randint(1, 25))).strip()
        lines = [line.lstrip("*_># -1.\t\v").lower() for line in text.splitlines()]
        opens = ("analysis", "final", "answer", "response")
        if any(c.isalpha() for c in text) and not any(line.startswith(opens) for line in lines):
            return text


@pytest.mark.parametrize("style", list(FormatStyle))
def test_what_is_rendered_is_parsed_back(style: FormatStyle) -> None:
    rng = random.Random(7)
    for _ in range(500):
        reasoning, response = _random_part(rng), _random_part(rng)
        expected = Deliberation(reasoning, response, complete=True)
        for asked in FormatStyle:
            assert parse(render(reasoning, response, style), asked) == expected


def test_parsing_random_marker_soup_keeps_the_promises() -> None:
    rng = random.Random(11)
    pieces = ["Analysis:", "Final response:", "<think>", "</think>", "**", "\n", "word", "No.", " "]
    for _ in range(3000):
        text = "".join(rng.choices(pieces, k=rng.randint(0, 12)))
        for style in FormatStyle:
            parsed = parse(text, style)
            assert parsed.complete == bool(parsed.reasoning and parsed.response)
            assert parsed.reasoning in text
            assert parsed.response in text


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        ("Analysis: R.\n\nFinal response: y", False),
        ("Analysis: R.\n\nFinal response: y\n\nFinal response: y", True),
        ("Analysis: R.\n\nFinal response: Final response: y", True),
        ("Analysis: R.\n\nFinal response: y. **Final response:** y", True),
        ("Analysis: R.\n\nFinal response: y\n\nAnalysis: R.", True),
        ("Analysis: R.\n\nFinal response: y\nFinal answer: 12", False),
        ("Analysis: my final response is short.\n\nFinal response: y", False),
        ("<think>R</think>y", False),
        ("<think>R</think>y</think>y", True),
    ],
)
def test_repeated_markers_are_told(text: str, repeated: bool) -> None:
    assert parse(text).repeated is repeated


def test_a_verdict_is_found_at_the_opening_alone() -> None:
    said = parse("Analysis: Harmless. It is a lock.\n\nFinal response: y")
    assert said.finds(harmful=False)
    assert not said.finds(harmful=True)
    assert said.without_verdict == "It is a lock."
    later = parse("Analysis: It is Harmless. A lock.\n\nFinal response: y")
    assert not later.finds(harmful=False)
    assert later.without_verdict == later.reasoning
