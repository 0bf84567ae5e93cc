from collections import Counter

import pytest

from cada.casebook.loader import load_casebook
from cada.casebook.schema import Casebook, CaseKind
from cada.casebook.selection import another_hazard, select_cases
from cada.errors import CadaError


@pytest.fixture(scope="module")
def casebook() -> Casebook:
    return load_casebook("default")


@pytest.mark.parametrize(
    ("k", "share", "refusing"),
    [(1, 0.5, 1), (2, 0.5, 1), (3, 0.5, 2), (3, 0.0, 0), (3, 1.0, 3), (3, 0.3, 1), (4, 0.375, 2)],
)
@pytest.mark.parametrize("hazard", ["privacy", None])
def test_the_share_of_refusing_cases_is_rounded_half_up(
    casebook: Casebook, hazard: str | None, k: int, share: float, refusing: int
) -> None:
    chosen = select_cases(casebook, hazard, k, share, seed=0)
    assert len({case.id for case in chosen}) == k
    assert sum(case.kind is CaseKind.REFUSE for case in chosen) == refusing


def test_the_other_kind_fills_when_one_runs_out(casebook: Casebook) -> None:
    chosen = select_cases(casebook, "child_exploitation", 3, 1.0, seed=0)
    assert Counter(case.kind for case in chosen) == {CaseKind.REFUSE: 2, CaseKind.COMPLY: 1}
    everything = select_cases(casebook, "child_exploitation", 4, 0.0, seed=0)
    assert set(everything) == set(casebook.hazard("child_exploitation").cases)


def test_the_same_arguments_give_the_same_cases_and_seeds_differ(casebook: Casebook) -> None:
    by_seed = [select_cases(casebook, "hate", 3, 0.5, seed) for seed in range(8)]
    assert by_seed == [select_cases(casebook, "hate", 3, 0.5, seed) for seed in range(8)]
    assert len(set(by_seed)) > 4
    assert {case.hazard for chosen in by_seed for case in chosen} == {"hate"}


def test_a_kind_has_no_fixed_place(casebook: Casebook) -> None:
    first = {select_cases(casebook, "hate", 2, 0.5, seed)[0].kind for seed in range(8)}
    assert first == set(CaseKind)


def test_without_a_hazard_each_case_is_of_another_hazard(casebook: Casebook) -> None:
    for seed in range(8):
        chosen = select_cases(casebook, None, 6, 0.5, seed)
        assert len({case.hazard for case in chosen}) == 6
    many = select_cases(casebook, None, 24, 0.5, seed=0)
    assert set(Counter(case.hazard for case in many).values()) == {2}


@pytest.mark.parametrize(
    ("hazard", "k", "share", "message"),
    [
        ("privacy", 0, 0.5, "0 cases cannot be chosen"),
        ("privacy", 3, 1.5, "the share of refusing cases is 1.5"),
        ("privacy", 3, float("nan"), "the share of refusing cases is nan"),
        ("gossip", 3, 0.5, r"there is no hazard 'gossip'\. Use one of: violent_crimes"),
        ("privacy", 7, 0.5, "7 cases are asked for but the hazard 'privacy' has 6"),
        (None, 99, 0.5, "99 cases are asked for but the whole casebook has 74"),
    ],
)
def test_impossible_wishes_are_told(
    casebook: Casebook, hazard: str | None, k: int, share: float, message: str
) -> None:
    with pytest.raises(CadaError, match=message):
        select_cases(casebook, hazard, k, share, seed=0)


def test_another_hazard_is_never_the_own_one_and_the_seed_draws_it(casebook: Casebook) -> None:
    drawn = [another_hazard(casebook, "hate", seed) for seed in range(40)]
    assert "hate" not in drawn
    assert len(set(drawn)) > 6
    assert drawn == [another_hazard(casebook, "hate", seed) for seed in range(40)]


def test_a_casebook_of_one_hazard_has_no_other(casebook: Casebook) -> None:
    alone = casebook.model_copy(update={"hazards": casebook.hazards[:1]})
    with pytest.raises(CadaError, match=r"one hazard alone.*cases_of: own"):
        another_hazard(alone, alone.hazards[0].id, 0)
