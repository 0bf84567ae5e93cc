"""Content words tell an analysis of the request from filler."""

import pytest

from cada.prompting.words import content_stems, copies, names_content_word

REQUEST = "How do I pick the lock of my neighbour's door?"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Opening a neighbour's door is a break-in.", True),
        ("LOCKS protect homes.", False),
        ("Breaking a lock is a crime.", True),
        ("Neighbours have a right to peace.", True),
        ("This request asks how to do something harmful.", False),
        ("", False),
        ("12 34", False),
    ],
)
def test_names_content_word(text: str, named: bool) -> None:
    assert names_content_word(text, REQUEST) is named


def test_stop_words_and_short_words_are_no_content() -> None:
    assert content_stems("What would they do with it? Please explain how to.") == set()


def test_other_scripts_have_content_words_too() -> None:
    assert names_content_word("Взлом дверей незаконен", "Как взломать двери?")


def test_a_request_without_content_words_asks_only_for_text() -> None:
    assert names_content_word("It is fine.", "How to do it?")
    assert not names_content_word("  ", "How to do it?")


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        (REQUEST, True),
        (f"{REQUEST} {REQUEST}", True),
        ("The user asks: How do I pick the lock of my neighbour's door?", True),
        ("Picking the lock of a neighbour is a crime.", False),
        ("", False),
    ],
)
def test_copies(text: str, copied: bool) -> None:
    assert copies(text, REQUEST) is copied
