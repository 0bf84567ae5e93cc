"""What a text is about, as a vector: WordLlama's static token embeddings, without torch.

WordLlama (MIT) keeps one vector for each of 32,000 tokens, cut from a language model's table and
trained on similar sentences; a text's vector is the mean of its tokens'. It knows no word order.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from cada.judging.text import well_formed

WIDTH = 256
_NAME = "l2_supercat"
_READ = 800  # characters: what a text is about shows early


def load() -> None:
    """Reads the vectors, 0.2 s once a process, so that the first call is as quick as the others."""
    _tokenizer()
    _table()


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """The vectors of texts by their first page, [N, 256], of length 1; of an empty text, zero."""
    vectors = np.zeros((len(texts), WIDTH), dtype=np.float32)
    for number, text in enumerate(texts):
        if tokens := _tokens(text[:_READ]):
            total = _table()[tokens].astype(np.float32).sum(axis=0)
            vectors[number] = total / max(float(np.linalg.norm(total)), 1e-9)
    return vectors


def similarity(one: str, other: str) -> float:
    """The cosine of two texts' vectors: some 0.5 where they share a topic, some 0 elsewhere.

    The first is remembered.
    """
    return float(_met(one[:_READ]) @ embed([other])[0])


@lru_cache(1024)  # a request has many answers
def _met(text: str) -> NDArray[np.float32]:
    vector: NDArray[np.float32] = embed([text])[0]
    return vector


def letters_per_token(words: Sequence[str]) -> float:
    """How long the tokens are that words fall into: of English some 5, of random letters 2."""
    return sum(map(len, words)) / max(1, sum(map(len, map(_of_word, words))))


def _tokens(text: str) -> list[int]:
    """The tokens of a text: those of its words, where no spaces follow one another."""
    if "  " in f" {text} ":
        return _encoded(text)
    return list(chain.from_iterable(_of_word(word) for word in text.split(" ")))


@lru_cache(1 << 16)
def _of_word(word: str) -> list[int]:
    return _encoded(word)


def _encoded(text: str) -> list[int]:
    # without the places of tokens in the text, which take a quarter of the time
    (found,) = _tokenizer().encode_batch_fast([well_formed(text)], add_special_tokens=False)
    ids: list[int] = found.ids
    return ids


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(_folder() / "tokenizers" / f"{_NAME}_tokenizer_config.json"))


@cache
def _table() -> NDArray[np.float16]:
    table: NDArray[np.float16]
    table = load_file(_folder() / "weights" / f"{_NAME}_{WIDTH}.safetensors")["embedding.weight"]
    return table


def _folder() -> Path:
    """Where WordLlama's files lie; importing its code takes longer than reading them."""
    found = find_spec("wordllama")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "The offline judges read WordLlama's files: pip install wordllama"
        )
    return Path(found.origin).parent
