"""Wordings: regular expressions for lower-case text, searched no further than need be."""

import re
from functools import cached_property


class Wording:
    """Some wordings of one thing, as patterns whose matches all count the same.

    It finds what the patterns joined by "|" find, and is quicker: those that begin with "^" are
    tried at the start alone, the others only in a text that has one of the words that they need.
    """

    def __init__(self, *patterns: str, needs: tuple[str, ...] = ()) -> None:
        """`needs`: every match of a pattern without "^" holds one of these, also within a word."""
        self.needs = needs
        parts: dict[str, list[str]] = {"^": [], r"\b": [], "": []}
        for pattern in patterns:
            head = next(head for head in parts if pattern.startswith(head))
            parts[head].append(pattern[len(head) :])
        heads = {head: f"{head}(?:{'|'.join(own)})" for head, own in parts.items() if own}
        self._all = "|".join(heads.values())
        start = heads.pop("^", None)
        self._start = re.compile(start) if start else None
        self._within = re.compile("|".join(heads.values())) if heads else None

    @cached_property
    def plain(self) -> re.Pattern[str]:
        """The patterns joined by "|"."""
        return re.compile(self._all)

    def search(self, text: str) -> re.Match[str] | None:
        """The first match in a text."""
        if self._start and (found := self._start.match(text)):
            return found
        if self._within and (not self.needs or holds(text, self.needs)):
            return self._within.search(text)
        return None

    def match(self, text: str) -> re.Match[str] | None:
        """The match at a text's start."""
        return self.plain.match(text)

    def count(self, text: str) -> int:
        """How many matches a text has."""
        return len(self.plain.findall(text))

    def without(self, text: str) -> str:
        """The text after what matches at its start."""
        found = self.plain.match(text)
        return text[found.end() :] if found else text


def holds(text: str, words: tuple[str, ...]) -> bool:
    """Whether one of these stands anywhere in a text, also within words."""
    return any(map(text.__contains__, words))
