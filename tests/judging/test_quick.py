"""What is done quickly for speed's sake gives what the plain way gives."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cada.evaluation.canary import load_pairs
from cada.judging import garble, manner, patterns
from cada.judging.meaning import _tokenizer, _tokens
from cada.judging.wording import Wording

# letters, marks and spaces often, anything sometimes
TEXTS = st.text(st.one_of(st.sampled_from("abcItz .,!?'-_\n\t019é’"), st.characters(codec="utf-8")))


WORDINGS = {name: each for name, each in vars(patterns).items() if isinstance(each, Wording)}


@pytest.mark.parametrize("name", WORDINGS)
def test_a_wording_is_found_where_its_plain_pattern_finds_it(name: str) -> None:
    wording = WORDINGS[name]

    @given(st.from_regex(wording.plain))
    @settings(max_examples=150, derandomize=True, deadline=None)
    def check(text: str) -> None:
        found, plain = wording.search(text), wording.plain.search(text)
        assert found is not None
        assert plain is not None
        assert found.span() == plain.span()

    check()


@given(TEXTS)
@settings(max_examples=400, derandomize=True, deadline=None)
def test_steps_begin_lines(text: str) -> None:
    plain = re.compile(r"^[ \t]*(?:\d+[.)]|[-•] |step \d+\b)", re.MULTILINE)
    assert patterns.steps(text) == [found.start() for found in plain.finditer(text)]


@given(TEXTS)
@settings(max_examples=400, derandomize=True, deadline=None)
def test_a_page_has_its_words_and_digits(text: str) -> None:
    low = text.lower()
    assert manner._words(low) == manner._WORD.findall(low)
    assert manner._digits(low) == len(re.findall(r"\d", low))


@given(st.text("ab \n", min_size=0, max_size=400))
@settings(max_examples=400, derandomize=True, deadline=None)
def test_a_text_is_unbroken_that_has_a_long_word(text: str) -> None:
    longest = max(map(len, text.split()), default=0)
    assert garble._is_unbroken(text) == (longest > garble._UNBROKEN)


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
    tokenizer = _tokenizer()
    texts = ["", " ", "Two  words\nand a – dash", "naïve café 你好 123", " led", "ended ", "a\n b"]
    for text in [*texts, *(answer for _, answer in load_pairs("embedded"))]:
        assert _tokens(text) == tokenizer.encode(text, add_special_tokens=False).ids
