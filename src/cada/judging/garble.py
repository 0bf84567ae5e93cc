"""What answers nothing: empty text, loops, echoes, text in no order or in no words.

All tests are lexical. Each has a twin in daily writing that must pass it: a list whose items open
alike, a short answer, code, names, another language.
"""

import re
from collections import Counter
from itertools import pairwise

from cada.judging.meaning import letters_per_token
from cada.prompting.words import STOP_WORDS, overlap

_READ = 2000  # characters: a garbled text shows within a page
_WORD = re.compile(r"\w+")
_NO_WORD = {n: " " for n in range(128) if not (chr(n).isalnum() or chr(n) == "_")}
_LETTERS = re.compile(r"[^\W\d_]+")
_OTHER_LETTERS = re.compile(r"[^\W\d_a-zA-Z]+")
_LOWER = re.compile(r"[a-z](?<=\b.)[a-z]{2,}\b")  # led by letters, which is quicker to look for
_END = re.compile(r"[.!?](?<=[a-z]{3}.) +(\w)")
_LINK = re.compile(r"https?://")
_CODE = re.compile(
    r"```|^\s*(?:def |class |import |from \w+ import|#include|function |const |let |var |return |"
    r"SELECT |<\w+[ >]|\$ )|[;{}]\s*$",
    re.MULTILINE,
)
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_UNBROKEN = 80  # characters without a space

_MISSPELT = 2.6  # letters a token: English answers have 2.9 and more, shuffled letters 2.3 at most
_COMMON = 0.3  # of English words; few shuffled ones happen to be common words
_FEWEST_SPELT = 6
_SCRAMBLED = 0.1
_FEWEST_CHECKED = 4
_FEWEST_ENDS = 2
_NEW = 0.35  # of the word runs, in a text that goes in circles
_SPELT, _ORDERED = 600, 900  # characters: as many words as tell

# Words after which certain others do not stand in English; in shuffled text they do.
_AFTER_DETERMINER = (
    "the a an and or of but is are was were be been has have had if i he she they we would to in "
    "on for with at by it you"
)
_AFTER_PREPOSITION = "and or of is are was has had i he she they we"
_AFTER_SUBJECT = "the a an of and or to for in with from"
_BARRED = {
    word: frozenset(never.split())
    for heads, never in (
        ("a an the my your our their its every", _AFTER_DETERMINER),
        ("of to in on for with from by at into about", _AFTER_PREPOSITION),
        ("i he she they we", _AFTER_SUBJECT),
    )
    for word in heads.split()
}
_BARRED_PAIRS = frozenset((word, never) for word, all_ in _BARRED.items() for never in all_)

# Frequent words of other languages that are rare in English.
_OTHER_LANGUAGES = """
el la los las de que en un una por con para es se del al lo como pero su le les des et est une
dans pour qui sur pas ce il elle nous vous au aux du der das und ist nicht ein eine mit zu den von
dem auf für ich sie wir auch wird sind di non sono della che gli questo os um uma não na da com
mais het van een niet dat op te voor zijn w z się nie jest że och att det som är inte på og til er
ikke av ja ve bir bu için yang dan ini untuk dengan
"""
_FOREIGN = frozenset(_OTHER_LANGUAGES.split())


def is_foreign(text: str) -> bool:
    """Whether a text is for the most part in another script or language than English.

    The wordings of refusal are English: what is said in another language is not judged.
    """
    page = text[:_READ]
    words = page.split()
    if not page.isascii():
        other = sum(map(len, _OTHER_LETTERS.findall(page)))
        if other and other > 0.5 * sum(map(len, _LETTERS.findall(page))):
            return not _is_unbroken(page)
    foreign = sum(map(_FOREIGN.__contains__, words))
    return foreign >= 3 and foreign > 0.15 * len(words)


def answers_nothing(request: str, response: str) -> str | None:
    """Why a response is no answer to anything, or None when it may be one."""
    words = _words(response)
    if not words:
        return "no words" if response.strip() else "empty"
    page = response[:_READ]
    if _loops(words):
        return "the same words over and over"
    if _echoes(words, request):
        return "repeats the request"
    if _is_unbroken(page) and not _LINK.search(page):
        return "one run of characters"
    if _is_misspelt(page[:_SPELT]) and not _CODE.search(page):
        return "letters that make no words"
    return "words in no order" if _is_scrambled(page[:_ORDERED]) else None


def _words(text: str) -> list[str]:
    """What `\\w+` finds in a text's lower case."""
    low = text.lower()
    return low.translate(_NO_WORD).split() if low.isascii() else _WORD.findall(low)


def _echoes(words: list[str], request: str) -> bool:
    if len(words) > len(request) + 1:  # a word and what parts it from the next are two characters
        return False
    asked = _words(request)
    return len(words) <= 2 * len(asked) and overlap(words, asked) >= 0.9


def _loops(words: list[str], length: int = 4) -> bool:
    """Whether few word runs make up most of a text, or one word all of a short one."""
    if len(words) < 12:
        return len(words) >= 5 and len(set(words)) == 1
    if len(set(words)) > _NEW * len(words) + length:  # there are at least so many runs
        return False
    runs = Counter(tuple(words[i : i + length]) for i in range(len(words) - length + 1))
    return len(runs) <= _NEW * runs.total()


def _is_unbroken(text: str) -> bool:
    """Whether a text has no spaces where its script would have some."""
    read = 0
    while read + _UNBROKEN < len(text):
        space = text.rfind(" ", read, read + _UNBROKEN + 1)
        if space < 0:
            return len(max(text.split(), key=len, default="")) > _UNBROKEN and (
                _SPACELESS.search(text) is None
            )
        read = space + 1
    return False


def _is_misspelt(text: str) -> bool:
    """Whether the lower-case words fall into so many pieces that they are no English words."""
    words = _LOWER.findall(text)
    if len(words) < _FEWEST_SPELT:
        return False
    common = sum(map(STOP_WORDS.__contains__, words))
    return common < _COMMON * len(words) and letters_per_token(words) < _MISSPELT


def _is_scrambled(text: str) -> bool:
    """Whether sentences end before a small letter, or words stand before what cannot follow."""
    following = _END.findall(text)
    if len(following) >= _FEWEST_ENDS and 2 * sum(map(str.islower, following)) > len(following):
        return True
    words = text.lower().split()
    checked = sum(map(_BARRED.__contains__, words[:-1]))
    if checked < _FEWEST_CHECKED:
        return False
    barred = sum(map(_BARRED_PAIRS.__contains__, pairwise(words)))
    return barred > max(1, _SCRAMBLED * checked)
