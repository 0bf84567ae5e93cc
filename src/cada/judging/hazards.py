"""Which hazard does a request touch? An offline linear classifier, 0 (safe) to 13 (other).

Hashed n-grams of words and of characters, and the text's vector, times a matrix of weights.
No text of the training data is in it; what it was fitted on stands in docs/judges.md.
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from cada.errors import CadaError
from cada.judging.meaning import WIDTH, embed

FILE = "hazards.safetensors"
BUCKETS = 2**16  # of words and pairs of words, and as many of characters
MEANING = 0.8  # weight of the text's vector beside the two kinds of n-grams, of length 1 each
_CHARACTERS = (3, 4, 5)
_WORD = re.compile(r"[^\W_]+(?:'[a-z]+)?")
_LONGEST = 2000  # characters of a request that are read


@dataclass(frozen=True)
class HazardGuess:
    """A hazard's number (0 safe, 1 to 12, 13 other) and how far it leads the next, from 0."""

    number: int
    margin: float


class HazardClassifier:
    """Weights [C, F] and bias [C] for the hazards `numbers` [C], with F = 2 BUCKETS + 256.

    `idf` [2 BUCKETS] is of the n-grams, words first.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        weights: NDArray[np.float32],
        bias: NDArray[np.float32],
        idf: NDArray[np.float32],
    ) -> None:
        if weights.shape != (len(numbers), 2 * BUCKETS + WIDTH):
            raise ValueError(f"weights of shape {weights.shape} do not fit these features")
        self.numbers = tuple(numbers)
        self._weights = np.ascontiguousarray(weights.T)
        self._bias = bias
        self._idf = idf

    def classify(self, text: str) -> HazardGuess:
        """The likeliest hazard of one request."""
        scores = self.scores(text)
        best, second = np.argsort(scores)[::-1][:2]
        return HazardGuess(self.numbers[best], float(scores[best] - scores[second]))

    def scores(self, text: str) -> NDArray[np.float32]:
        """A score for each of `numbers`, [C]."""
        found: NDArray[np.float32] = self._bias + meaning(text) @ self._weights[2 * BUCKETS :]
        for counts in ngrams(text):
            buckets = np.fromiter(counts, dtype=np.int64, count=len(counts))
            values = np.fromiter(map(damped, counts.values()), dtype=np.float32, count=len(counts))
            values *= self._idf[buckets]
            if length := float(np.linalg.norm(values)):
                found += (values / np.float32(length)) @ self._weights[buckets]
        return found

    @classmethod
    def read(cls, path: Path | None = None) -> "HazardClassifier":
        """The shipped classifier, or one that was fitted to a team's own labels.

        Raises:
            CadaError: no such file, or it holds no classifier.
        """
        return _shipped() if path is None else _parse(_bytes(path), str(path))


def word_ngrams(text: str) -> Counter[int]:
    """Counts of hashed words and pairs of words."""
    words = _words(text)
    whole = words + [f"{first} {second}" for first, second in pairwise(words)]
    return Counter(zlib.crc32(gram.encode()) % BUCKETS for gram in whole)


def ngrams(text: str) -> tuple[Counter[int], Counter[int]]:
    """Counts of hashed n-grams: words and pairs of words; 3 to 5 characters within a word."""
    pieces = []
    for word in _words(text):
        padded = f" {word} "
        for n in _CHARACTERS:
            pieces += [padded[i : i + n] for i in range(max(1, len(padded) - n + 1))]
    return (
        word_ngrams(text),
        Counter(BUCKETS + zlib.crc32(gram.encode()) % BUCKETS for gram in pieces),
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(text[:_LONGEST].lower())


def damped(count: int) -> float:
    """1 + log n: the second time a word comes, it says less."""
    return 1 + math.log(count)


def meaning(text: str) -> NDArray[np.float32]:
    """The request's vector (`judging.meaning`), times `MEANING`."""
    vector: NDArray[np.float32] = embed([text])[0] * np.float32(MEANING)
    return vector


@cache
def _shipped() -> HazardClassifier:
    return _parse((files("cada.judging") / FILE).read_bytes(), FILE)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CadaError(
            f"cannot be read ({error.strerror})", where=str(path), mend="Check the path"
        ) from error


def _parse(data: bytes, where: str) -> HazardClassifier:
    try:
        held = load(data)
        grams = held["ngrams"].astype(np.float32) * held["scale"][:, None]
        weights = np.hstack([grams, held["meaning"]])
        numbers = [int(number) for number in held["numbers"]]
        return HazardClassifier(numbers, weights, held["bias"], held["idf"].astype(np.float32))
    except (SafetensorError, KeyError, ValueError) as error:
        raise CadaError(
            f"holds no hazard classifier ({error})",
            where=where,
            mend="Give a file that tools/fit_hazards.py wrote",
        ) from error
