from collections import Counter

import pytest

from cada.errors import CadaError
from cada.requests.sampling import sample
from cada.requests.types import Request


def requests(**counts: int) -> list[Request]:
    return [
        Request(f"{hazard}/{i}", f"{hazard} request {i}", True, hazard, "test")
        for hazard, count in counts.items()
        for i in range(count)
    ]


def by_hazard(drawn: list[Request]) -> dict[str | None, int]:
    return dict(Counter(request.hazard for request in drawn))


def test_thin_hazards_give_all_and_the_others_share_the_rest() -> None:
    drawn = sample(requests(hate=100, elections=4, privacy=100), 60, seed=0)
    assert by_hazard(drawn) == {"hate": 28, "elections": 4, "privacy": 28}
    assert len({request.id for request in drawn}) == 60


def test_the_seed_decides() -> None:
    pool = requests(hate=50, privacy=50)
    assert sample(pool, 20, seed=3) == sample(pool, 20, seed=3)
    assert {r.id for r in sample(pool, 20, seed=3)} != {r.id for r in sample(pool, 20, seed=4)}


def test_the_cap_holds_with_and_without_repetition() -> None:
    pool = requests(hate=100, elections=4)
    assert by_hazard(sample(pool, 14, seed=0, cap_per_hazard=10)) == {"hate": 10, "elections": 4}
    drawn = sample(pool, 20, seed=0, cap_per_hazard=10, replace=True)
    assert by_hazard(drawn) == {"hate": 10, "elections": 10}


def test_repetition_comes_only_after_every_request() -> None:
    pool = requests(hate=6, elections=2)
    assert len({r.text for r in sample(pool, 8, seed=0, replace=True)}) == 8
    drawn = sample(pool, 11, seed=0, replace=True)
    assert by_hazard(drawn) == {"hate": 6, "elections": 5}
    assert len({r.text for r in drawn}) == 8
    assert len({r.id for r in drawn}) == 11
    elections = sorted(r.id for r in drawn if r.hazard == "elections")
    assert {identity.partition("#")[2] for identity in elections} == {"", "2", "3"}


def test_requests_without_hazard_are_a_group_of_their_own() -> None:
    ordinary = [Request(str(i), f"ordinary {i}", False, None, "test") for i in range(50)]
    assert by_hazard(sample(requests(hate=50) + ordinary, 20, seed=0)) == {"hate": 10, None: 10}


@pytest.mark.parametrize("replace", [True, False])
def test_too_few(replace: bool) -> None:
    with pytest.raises(CadaError, match="9 requests were asked for and 8 can be drawn"):
        sample(requests(hate=50, privacy=50), 9, seed=0, cap_per_hazard=4, replace=replace)
    with pytest.raises(CadaError, match="0 can be drawn"):
        sample([], 1, seed=0, replace=replace)
