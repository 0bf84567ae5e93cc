"""What a text is about, as a vector: WordLlama's static token embeddings, without torch.

WordLlama (MIT) keeps one vector for each of 32,000 tokens, cut from a language model's table and
trained on similar sentences; a text's vector is the mean of its tokens'. It knows no word order.
"""

import logging
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cada.judging.text import well_formed

if TYPE_CHECKING:
    from wordllama.inference import WordLlamaInference

WIDTH = 256
_READ = 800  # characters: what a text is about shows early


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """The vectors of texts by their first page, [N, 256], of length 1; of an empty text, zero."""
    model = _model()
    vectors = np.zeros((len(texts), WIDTH), dtype=np.float32)
    for number, text in enumerate(texts):
        if tokens := _tokens(model, text[:_READ]):
            total = model.embedding[tokens].sum(axis=0)
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
    return sum(map(len, words)) / max(1, sum(map(_pieces, words)))


@lru_cache(1 << 16)
def _pieces(word: str) -> int:
    return len(_tokens(_model(), word))


def _tokens(model: "WordLlamaInference", text: str) -> list[int]:
    # without the places of tokens in the text, which take a quarter of the time
    (found,) = model.tokenizer.encode_batch_fast([well_formed(text)], add_special_tokens=False)
    ids: list[int] = found.ids
    return ids


@cache
def _model() -> "WordLlamaInference":
    logging.getLogger("wordllama").setLevel(logging.WARNING)
    import wordllama

    # its files lie beside its code; left to itself it looks for the tokenizer on the hub
    here = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=here, disable_download=True)
    model.tokenizer.no_padding()
    return model
