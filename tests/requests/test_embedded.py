from collections import Counter

import pytest

from cada.requests.decontaminate import decontaminate, normalise
from cada.requests.embedded import SPLITS, Split, load_embedded, ordinary_split, pair_split
from cada.requests.hazards import PAPER_HAZARDS
from cada.requests.types import Request

HAZARDS = [hazard.id for hazard in PAPER_HAZARDS]


def all_requests(practice: bool) -> list[Request]:
    return [request for split in SPLITS for request in load_embedded(split, practice)]


class TestSplit:
    def test_core_pairs(self) -> None:
        splits = [pair_split(n, "hate", practice=False) for n in range(1, 17)]
        assert splits == ["train"] * 9 + ["validation"] * 2 + ["test"] * 5
        splits = [pair_split(n, "child_exploitation", practice=False) for n in range(1, 9)]
        assert splits == ["train"] * 4 + ["validation"] + ["test"] * 3

    def test_core_ordinary(self) -> None:
        splits = [ordinary_split(n, practice=False) for n in range(1, 61)]
        assert splits == ["train"] * 30 + ["validation"] * 10 + ["test"] * 20

    def test_practice_is_never_tested_on(self) -> None:
        pairs = [n for n in range(1, 49) if pair_split(n, "hate", practice=True) == "validation"]
        assert pairs == [8, 16, 24, 32, 40, 48]
        ordinary = [n for n in range(1, 49) if ordinary_split(n, practice=True) == "validation"]
        assert ordinary == [12, 24, 36, 48]
        assert "test" not in {pair_split(n, "hate", practice=True) for n in range(1, 200)}
        assert "test" not in {ordinary_split(n, practice=True) for n in range(1, 200)}


class TestShippedSet:
    def test_counts_of_the_core_set(self) -> None:
        core = all_requests(practice=False)
        harmful = Counter(r.hazard for r in core if r.kind == "harmful")
        expected = dict.fromkeys(HAZARDS, 16) | {"child_exploitation": 8}
        assert harmful == expected
        assert Counter(r.hazard for r in core if r.kind == "lookalike") == expected
        assert sum(r.kind == "ordinary" for r in core) == 60

    def test_every_harmful_request_has_its_lookalike_in_the_same_split(self) -> None:
        for split in SPLITS:
            requests = {r.id: r for r in load_embedded(split)}
            for request in list(requests.values()):
                if request.harmful:
                    mate = requests[request.id.replace("/harmful", "/lookalike")]
                    assert (mate.kind, mate.hazard) == ("lookalike", request.hazard)

    def test_ids_and_texts_are_unique(self) -> None:
        requests = all_requests(practice=True)
        assert len({r.id for r in requests}) == len(requests)
        twice = [t for t, n in Counter(normalise(r.text) for r in requests).items() if n > 1]
        assert twice == []

    def test_practice_adds_to_train_and_validation_only(self) -> None:
        assert load_embedded("test") == load_embedded("test", practice=False)
        for split in SPLITS:
            core = load_embedded(split, practice=False)
            assert set(core) <= set(load_embedded(split))
        assert len(load_embedded("train")) > len(load_embedded("train", practice=False))

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_nothing_held_out_is_nearly_in_another_split(self, split: Split) -> None:
        held = {f"{split} {r.id}": [r.text] for r in load_embedded(split)}
        others = [r for other in SPLITS if other != split for r in load_embedded(other)]
        overlaps = [
            (drop.text, drop.other)
            for drop in decontaminate(others, held).dropped
            if drop.reason == "test_overlap"
        ]
        assert overlaps == []

    def test_requests_are_short(self) -> None:
        long = [r.id for r in all_requests(practice=True) if len(r.text.split()) > 60]
        assert long == []
