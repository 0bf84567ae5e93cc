"""Answers to something else: what shares no topic with its request."""

import re
from functools import lru_cache

from cada.judging import patterns
from cada.judging.meaning import similarity
from cada.prompting.words import content_stems

_OFF_TOPIC = 0.2  # similarity; docs/judges.md has what other values give
_SHORTEST, _LONG = 10, 40  # words: of short answers less can be told, of ten words nothing
_REFERS = re.compile(r"\W*(?:they|these|those|he|she|it|its|this|that)\b", re.IGNORECASE)
_ASKED = 4000  # characters of a request
_READ = 1000  # characters: what an answer is about shows early
_STEM = 4  # letters; a shorter word is looked for as a whole
_LETTERS_ALONE = {number: " " for number in range(128) if not chr(number).isalpha()}
_SURELY_RELATED = 2 / 3  # of the request's stems


def is_off_topic(request: str, response: str) -> bool:
    """Whether a response is, by its words, about something else than its request.

    Requests for a text (a poem, a translation), code and short answers are let pass: there the
    words of the request need not come back.
    """
    length = len(response.split(None, _LONG))  # no more tells more
    if length <= _SHORTEST or "```" in response:
        return False
    if length < _LONG and _REFERS.match(response):  # to what the request names
        return False
    wanted = _wanted(request[:_ASKED])
    read = f" {response[:_READ].lower()} ".translate(_LETTERS_ALONE)
    if not wanted or sum(stem in read for stem in wanted) > _SURELY_RELATED * len(wanted):
        return False
    known = min(1.0, (length - _SHORTEST) / (_LONG - _SHORTEST))
    return similarity(request, response) < _OFF_TOPIC * known


@lru_cache(1024)  # a request has many answers
def _wanted(request: str) -> tuple[str, ...]:
    """The beginnings of words that an answer should come back to; none where it need not."""
    if patterns.ASKS_TO_WRITE.search(request.lower()):
        return ()
    stems = content_stems(request, length=_STEM, shortest=_STEM - 1)
    return tuple(f" {stem}" if len(stem) == _STEM else f" {stem} " for stem in stems)
