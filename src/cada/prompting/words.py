"""Content words: does an analysis speak of this request, or of anything at all?"""

import re

_STEM_LENGTH = 5
_WORD = re.compile(r"[^\W\d_]+")
_SHORTEST = 4
_COMMON = """
a about above actually after again against also although always am an analysis and another answer
anyone anything are around as asked asking asks at away back be because been before being below
best better between both by came can cannot come comes could couldn did didn do does doesn doing
done down during each either else even ever every everyone everything explain find first for from
generate gets getting give given gives giving goes going good had has have haven having he help
helpful her here hers him himself his how however i if in into is isn it its itself just keep know
known less let like likely list look made make makes making many may maybe me might more most much
must my myself need needs never next nothing of often on once one only or other others otherwise
our ours over people person please possible question rather really request requests response said
same says several shall she should shouldn show simply since so some someone something still such
suggest sure take tell than that the their theirs them themselves then there these they thing
things think this those though through thus to together told toward towards under until up upon us
used useful user users uses using very want wants was wasn ways we well were what whatever when
where whether which while who whom whose why will with within without would wouldn write writing
wrote you your yours yourself
"""
STOP_WORDS = frozenset(_COMMON.split())
_POLITE = """
absolutely assist assistance certainly course dear glad happy hello okay pleased pleasure
welcome yes
"""
_COURTESIES = frozenset(_POLITE.split())
_WORD_OR_NUMBER = re.compile(r"\w+")
_RESTATED = 0.8
_SENTENCE_END = re.compile(r"[.!?]+\s+|\n+")
_SHORTEST_SENTENCE = 3


def content_stems(text: str, *, length: int = _STEM_LENGTH, shortest: int = _SHORTEST) -> set[str]:
    """The light stems (first `length` letters) of words of `shortest` letters, no stop words."""
    return {word[:length] for word in content_words(text) if len(word) >= shortest}


def content_words(text: str) -> set[str]:
    """The words of a text in lower case, without numbers and stop words."""
    return _words(text) - STOP_WORDS


def names_content_word(text: str, request_text: str) -> bool:
    """Whether `text` names a content word of the request, compared by a light stem.

    A request without any content word ("How to do it?") asks only that `text` is not blank.
    """
    wanted = content_stems(request_text)
    if not wanted:
        return bool(text.strip())
    return not wanted.isdisjoint(content_stems(text))


def copies(text: str, request_text: str) -> bool:
    """Whether `text` adds nothing to the request: each of its words is there, or a stop word."""
    words = _words(text)
    return bool(words) and words <= _words(request_text) | STOP_WORDS


def says_something(text: str) -> bool:
    """Whether a text holds a number, or a word that is neither a stop word nor a courtesy."""
    if any(character.isdigit() for character in text):
        return True
    empty = STOP_WORDS | _COURTESIES
    return any(len(word) > 2 and word not in empty for word in _words(text))


def restates(text: str, other: str) -> bool:
    """Whether `text` is for the most part a run of `other`'s words, and not much shorter."""
    own, there = _sequence(text), _sequence(other)
    return 2 * len(own) >= len(there) and overlap(own, there) >= _RESTATED


def repeats(text: str) -> bool:
    """Whether a sentence of three words or more comes twice, as where a model runs in circles."""
    parts = [_sequence(part) for part in _SENTENCE_END.split(text)]
    sentences = [tuple(words) for words in parts if len(words) >= _SHORTEST_SENTENCE]
    return len(set(sentences)) < len(sentences)


def overlap(words: list[str], others: list[str]) -> float:
    """The share of three-word runs of `words` that `others` holds."""

    def runs(items: list[str]) -> list[tuple[str, ...]]:
        return [tuple(items[i : i + 3]) for i in range(len(items) - 2)]

    own, known = runs(words), set(runs(others))
    return sum(run in known for run in own) / len(own) if own else 0.0


def _sequence(text: str) -> list[str]:
    return _WORD_OR_NUMBER.findall(text.lower())


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
