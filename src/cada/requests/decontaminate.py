"""Drop requests that repeat one another, exactly or nearly, or that a test set holds.

Two texts are the same if they agree after normalisation (Unicode form, case, punctuation, spaces),
and nearly the same if the Jaccard similarity of their sets of word 3-grams reaches a threshold.
Languages written without spaces are compared exactly only.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from cada.errors import CadaError
from cada.requests.types import Request, Turn

Reason = Literal["exact_duplicate", "near_duplicate", "test_overlap"]
REASONS: tuple[Reason, ...] = ("exact_duplicate", "near_duplicate", "test_overlap")


@dataclass(frozen=True)
class Drop:
    """One request that was dropped, and the text that it repeats.

    `of` is the id of the kept request, or the name of the test set.
    """

    id: str
    reason: Reason
    of: str
    similarity: float
    text: str
    other: str


@dataclass(frozen=True)
class Decontamination:
    """What was kept, in the given order, and what was dropped and why."""

    kept: list[Request]
    dropped: list[Drop]

    @property
    def counts(self) -> dict[str, int]:
        """How many were dropped for each reason."""
        found = Counter(drop.reason for drop in self.dropped)
        return {reason: found[reason] for reason in REASONS}


def decontaminate(
    requests: Sequence[Request],
    tests: Mapping[str, Sequence[str]] | None = None,
    threshold: float = 0.6,
) -> Decontamination:
    """Keep the first of each group of (near) duplicates, and nothing that a test set holds.

    A harmful request and its harmless look-alike are meant to be near: near duplicates are looked
    for only among requests with the same label, system prompt and earlier turns. Test sets are
    compared by text alone. `tests` maps a test set's name to its texts; `threshold` in (0, 1].

    Raises:
        CadaError: the threshold is out of its range.
    """
    if not 0 < threshold <= 1:
        raise CadaError(
            f"threshold {threshold} is out of range",
            where="threshold",
            mend="Set it above 0 and up to 1; 0.6 is the default",
        )
    named = [(name, text) for name, texts in (tests or {}).items() for text in texts]
    texts = [request.text for request in requests] + [text for _, text in named]
    rarity = Counter(gram for text in texts for gram in _grams(text))
    held = _NearTexts(rarity, threshold)
    for name, text in named:
        held.add(name, text)
    kept: list[Request] = []
    dropped: list[Drop] = []
    exact: dict[tuple[object, ...], Request] = {}
    near: dict[tuple[bool, str | None, tuple[Turn, ...]], _NearTexts] = {}
    for request in requests:
        same = exact.get(_key(request))
        others = near.setdefault(
            (request.harmful, request.system, request.history), _NearTexts(rarity, threshold)
        )
        if same is not None:
            drop = Drop(request.id, "exact_duplicate", same.id, 1.0, request.text, same.text)
        elif match := held.find(request.text):
            drop = Drop(request.id, "test_overlap", *match.told(request.text))
        elif match := others.find(request.text):
            drop = Drop(request.id, "near_duplicate", *match.told(request.text))
        else:
            exact[_key(request)] = request
            others.add(request.id, request.text)
            kept.append(request)
            continue
        dropped.append(drop)
    return Decontamination(kept, dropped)


def normalise(text: str) -> str:
    """The text in Unicode form NFKC, folded case, without punctuation, single-spaced."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = re.findall(r"\w+", re.sub(r"['’`]", "", folded))
    return " ".join(words) or " ".join(folded.split())


def similarity(first: str, second: str) -> float:
    """The Jaccard similarity of two texts' sets of word 3-grams, in [0, 1]."""
    return _jaccard(_grams(first), _grams(second))


def _key(request: Request) -> tuple[object, ...]:
    return normalise(request.text), request.system, request.history


def _grams(text: str) -> frozenset[str]:
    """The word 3-grams of the normalised text; a shorter text is one gram."""
    words = normalise(text).split(" ")
    return frozenset(" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2)))


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    common = len(first & second)
    return common / (len(first) + len(second) - common)


@dataclass(frozen=True)
class _Match:
    of: str
    similarity: float
    other: str

    def told(self, text: str) -> tuple[str, float, str, str]:
        return self.of, round(self.similarity, 3), text, self.other


class _NearTexts:
    """Finds a text whose Jaccard similarity to a query reaches the threshold; exact, not hashed.

    Prefix filtering (Chaudhuri et al. 2006, Bayardo et al. 2007): two sets with similarity ≥ t
    share one of their |x| − ⌈t·|x|⌉ + 1 rarest grams, so only those are indexed and looked up, and
    the frequent ones ("how do i") cost nothing.
    """

    def __init__(self, rarity: Mapping[str, int], threshold: float) -> None:
        self.rarity = rarity
        self.threshold = threshold
        self.items: list[tuple[str, str, frozenset[str]]] = []
        self.index: dict[str, list[int]] = {}

    def add(self, name: str, text: str) -> None:
        grams = _grams(text)
        for gram in self._rarest(grams):
            self.index.setdefault(gram, []).append(len(self.items))
        self.items.append((name, text, grams))

    def find(self, text: str) -> _Match | None:
        """The most similar text at or above the threshold; the earliest of several."""
        grams = _grams(text)
        candidates = {i for gram in self._rarest(grams) for i in self.index.get(gram, ())}
        best: _Match | None = None
        for i in sorted(candidates):
            name, other, its_grams = self.items[i]
            found = _jaccard(grams, its_grams)
            if found >= self.threshold and (best is None or found > best.similarity):
                best = _Match(name, found, other)
        return best

    def _rarest(self, grams: Iterable[str]) -> list[str]:
        ordered = sorted(grams, key=lambda gram: (self.rarity[gram], gram))
        # the tiny slack keeps 0.6 * 5 from rounding up to 4
        return ordered[: len(ordered) - ceil(self.threshold * len(ordered) - 1e-9) + 1]
