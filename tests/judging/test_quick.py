"""What is done quickly for speed's sake gives what the plain way gives."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cada.judging import garble, manner, patterns
from cada.judging.meaning import _model, _tokens

# letters, marks and spaces often, anything sometimes
TEXTS = st.text(st.one_of(st.sampled_from("abcItz .,!?'-_\n\t019é’"), st.characters(codec="utf-8")))


@pytest.mark.parametrize(
    ("pattern", "held"),
    [
        (patterns.HELPS, patterns.OF_HELP),
        (patterns.LIMITS_OF_TIME, patterns.OF_TIME),
        (patterns.UNREAL, patterns.OF_UNREAL),
    ],
)
def test_what_a_pattern_matches_holds_one_of_its_words(
    pattern: re.Pattern[str], held: tuple[str, ...]
) -> None:
    @given(st.from_regex(pattern))
    @settings(max_examples=400, derandomize=True, deadline=None)
    def check(text: str) -> None:
        assert patterns.holds(text, held)

    check()


@given(TEXTS)
@settings(max_examples=400, derandomize=True, deadline=None)
def test_words_are_runs_of_letters_digits_and_underscores(text: str) -> None:
    assert garble._words(text) == re.findall(r"\w+", text.lower())


@given(TEXTS)
@settings(max_examples=400, derandomize=True, deadline=None)
def test_lower_words_are_whole_words(text: str) -> None:
    assert garble._LOWER.findall(text) == re.findall(r"\b[a-z]{3,}\b", text)


@given(TEXTS)
@settings(max_examples=400, derandomize=True, deadline=None)
def test_sentences_begin_at_the_start_and_after_their_ends(text: str) -> None:
    plain = re.compile(r"(?:^|[.!?\n])[^a-z.!?\n]*([a-z']+)")
    assert manner._Page(text).begins == plain.findall(text[:650].lower())


@given(st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1))
@settings(max_examples=400, derandomize=True, deadline=None)
def test_the_kinds_of_a_word_are_those_of_every_stem(word: str) -> None:
    for each in [word, *(stem + word for _, stems in manner._STEMMED for stem in stems)]:
        stemmed = {kind for kind, stems in manner._STEMMED if each.startswith(stems)}
        assert stemmed <= set(manner._kinds(each))


def test_tokens_are_those_of_the_plain_call() -> None:
    model = _model()
    for text in ("", "Two  words\nand a – dash", "naïve café 你好 123"):
        plain = model.tokenizer.encode(text, add_special_tokens=False).ids
        assert _tokens(model, text) == plain
