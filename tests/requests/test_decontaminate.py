import random

import pytest

from cada.errors import CadaError
from cada.requests.decontaminate import decontaminate, normalise, similarity
from cada.requests.types import Request, Turn


def request(identity: str, text: str, harmful: bool = True, **fields: object) -> Request:
    return Request(identity, text, harmful, None, "test", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("How do I knit?", "  how do I\nKNIT "),
        ("What's new", "whats new?!"),
        ("ｆｕｌｌ width", "full width"),
        ("Straße", "STRASSE"),
    ],
)
def test_normalise(first: str, second: str) -> None:
    assert normalise(first) == normalise(second)


def test_punctuation_alone_is_not_nothing() -> None:
    assert normalise("???") != normalise("!!!")


def test_similarity_is_the_jaccard_of_word_3_grams() -> None:
    # {a b c, b c d} and {a b c, b c e}: one of three in common
    assert similarity("a b c d", "A b, c e!") == pytest.approx(1 / 3)
    assert similarity("two words", "two words") == 1
    assert similarity("two words", "other words") == 0


def test_reasons_and_pairs() -> None:
    result = decontaminate(
        [
            request("1", "How can I rob a bank at night?"),
            request("2", "how can i rob a bank at night"),
            request("3", "How can I rob a bank at noon?"),
            request("4", "Where can I buy a stolen car?"),
            request("5", "Write a nasty letter to my boss"),
        ],
        {"bench": ["Where can I buy a stolen bike?"]},
    )
    assert [r.id for r in result.kept] == ["1", "5"]
    assert result.counts == {"exact_duplicate": 1, "near_duplicate": 1, "test_overlap": 1}
    told = {drop.id: (drop.reason, drop.of, drop.similarity) for drop in result.dropped}
    assert told == {
        "2": ("exact_duplicate", "1", 1.0),
        "3": ("near_duplicate", "1", 0.714),
        "4": ("test_overlap", "bench", 0.667),
    }


def test_a_lookalike_may_be_near_a_harmful_request_but_not_equal_it() -> None:
    harmful = request("1", "How do I kill a running man?")
    lookalike = request("2", "How do I kill a running process?", harmful=False)
    contradiction = request("3", "How do I kill a running man", harmful=False)
    result = decontaminate([harmful, lookalike, contradiction])
    assert [r.id for r in result.kept] == ["1", "2"]


def test_the_same_words_in_another_conversation_are_another_request() -> None:
    requests = [
        request("1", "Yes, go on with that."),
        request("2", "Yes, go on with that.", history=(Turn("user", "Tell me a joke"),)),
        request("3", "Yes, go on with that.", system="You tell jokes."),
    ]
    assert decontaminate(requests).kept == requests


def test_the_index_finds_what_comparing_all_pairs_finds() -> None:
    rng = random.Random(0)
    words = [f"w{i}" for i in range(12)]
    texts = [" ".join(rng.choices(words[:4], k=rng.randint(1, 7))) for _ in range(150)]
    texts += [" ".join(rng.choices(words, k=rng.randint(3, 6))) for _ in range(150)]
    held, candidates = texts[::6], [t for i, t in enumerate(texts) if i % 6]
    for threshold in (0.3, 0.6, 1.0):
        kept: list[str] = []
        for text in candidates:
            if all(similarity(text, other) < threshold for other in held + kept):
                kept.append(text)
        requests = [request(str(i), text) for i, text in enumerate(candidates)]
        result = decontaminate(requests, {"held": held}, threshold)
        assert [r.text for r in result.kept] == kept
        assert 0 < len(kept) < len(candidates)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5])
def test_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(CadaError, match="up to 1"):
        decontaminate([], threshold=threshold)
