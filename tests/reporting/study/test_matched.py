"""Harm where two methods refuse equally many harmless requests."""

import numpy as np
import pytest

from cada.reporting.study.matched import Scores, harm_at_equal_nrr


def scores(rates: list[float], n: int = 50) -> Scores:
    """A run for each rate: so many of the first requests score 1."""
    return {f"q{i}": [float(i < round(rate * n)) for rate in rates] for i in range(n)}


BASE = scores([0.8]), scores([1.0])


def test_who_refuses_more_is_mixed_with_the_untrained_model() -> None:
    cautious = scores([0.0] * 3), scores([0.6] * 3)
    open_one = scores([0.5] * 3), scores([0.8] * 3)
    # Half of its requests go to the untrained model: NRR 0.8, harm 0.4 against 0.5.
    found = harm_at_equal_nrr(open_one, cautious, BASE)
    assert found is not None
    assert found.value == pytest.approx(-0.1)
    assert found.low < -0.1 < found.high
    other_way = harm_at_equal_nrr(cautious, open_one, BASE)
    assert other_way is not None
    assert other_way.value == pytest.approx(0.1)
    assert (other_way.low, other_way.high) == pytest.approx((-found.high, -found.low))
    assert other_way.p == pytest.approx(found.p)


def test_at_the_same_nrr_it_is_the_plain_difference() -> None:
    kept = scores([0.7, 0.7])
    found = harm_at_equal_nrr((scores([0.2, 0.3]), kept), (scores([0.5, 0.6]), kept), BASE)
    assert found is not None
    assert found.value == pytest.approx(0.3)


def test_a_method_that_refuses_no_more_than_the_untrained_model_stays_as_it_is() -> None:
    first, second = (scores([0.3]), scores([1.0])), (scores([0.1]), scores([1.0]))
    found = harm_at_equal_nrr(first, second, BASE)
    assert found is not None
    assert found.value == pytest.approx(-0.2)
    # Whose NRR lies above the untrained model's is compared with the untrained model itself.
    lowered = harm_at_equal_nrr(
        (scores([0.0]), scores([0.5])), (scores([0.6]), scores([1.0])),
        (scores([0.8]), scores([0.9])),
    )  # fmt: skip
    assert lowered is not None
    assert lowered.value == pytest.approx(0.6 - 0.8)


def test_methods_without_any_difference_have_an_interval() -> None:
    safe = scores([0.0] * 3), scores([1.0] * 3)
    found = harm_at_equal_nrr(safe, safe, BASE)
    assert found is not None
    assert found.value == 0
    assert found.low < 0 < found.high
    assert found.p == 1


def test_requests_that_a_side_lacks_are_left_out() -> None:
    harm, kept = scores([0.2, 0.2]), scores([1.0, 1.0])
    lacking: Scores = {key: [None, None] for key in harm}
    assert harm_at_equal_nrr((harm, kept), (lacking, kept), BASE) is None
    half: Scores = {k: [None, v[1]] if n % 2 else v for n, (k, v) in enumerate(harm.items())}
    found = harm_at_equal_nrr((harm, kept), (half, kept), BASE)
    assert found is not None
    assert found.value == pytest.approx(0)


def test_the_interval_holds_what_many_studies_find() -> None:
    """In made-up studies with runs that differ, nine in ten intervals hold the middle of all."""
    random = np.random.default_rng(0)

    def drawn(rate: float, spread: float, ease: np.ndarray) -> Scores:
        runs = rate + spread * random.standard_normal(3)
        chance = np.clip(runs[None, :] + ease[:, None], 0, 1)
        return {f"q{i}": [float(random.random() < c) for c in row] for i, row in enumerate(chance)}

    found = []
    for _ in range(120):
        hard, easy = (0.25 * random.standard_normal(80) for _ in range(2))
        sides = [
            (drawn(h, 0.04, hard), drawn(n, 0.04, easy))
            for h, n in ((0.4, 0.7), (0.2, 0.5), (0.7, 0.9))
        ]
        one = harm_at_equal_nrr(sides[0], sides[1], sides[2])
        assert one is not None
        found.append(one)
    middle = float(np.mean([d.value for d in found]))
    held = np.mean([d.low <= middle <= d.high for d in found])
    assert held >= 0.88
    # ... and is not so only because it is wide.
    width = np.mean([d.high - d.low for d in found])
    assert width < 2 * 2 * 1.96 * np.std([d.value for d in found])
