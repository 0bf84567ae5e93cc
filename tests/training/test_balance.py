"""The side that goes wrong more often counts more."""

from dataclasses import replace

import pytest

from cada.training.balance import errors, running_error, side_weights, weigh
from tests.training.data import sample


def test_errors_are_harm_let_through_and_help_refused() -> None:
    assert errors({"harmful_refused": 0.75, "benign_refused": 0.2}) == (0.25, 0.2)
    assert errors({"benign_refused": 0.2}) == (None, 0.2)
    assert errors({"harmful_refused": 0.75}) == (0.25, None)


def test_an_error_rate_runs_on_where_a_side_was_not_asked() -> None:
    assert running_error(None, 0.3) == 0.3
    assert running_error(0.3, None) == 0.3
    assert running_error(None, None) is None
    assert running_error(0.5, 0.0) == pytest.approx(0.4)


def test_the_side_with_more_errors_counts_more_by_the_power() -> None:
    assert side_weights(0.1, 0.3, 1) == pytest.approx((0.5, 1.5))
    assert side_weights(0.1, 0.3, 2) == pytest.approx((0.2, 1.8))
    assert side_weights(0.1, 0.3, 0) == (1, 1)
    assert side_weights(0.4, 0.0, 1) == (2, 0)


@pytest.mark.parametrize("rates", [(None, 0.2), (0.2, None), (0.0, 0.0), (0.3, 0.3)])
def test_sides_that_are_alike_or_unknown_count_the_same(
    rates: tuple[float | None, float | None],
) -> None:
    assert side_weights(*rates, 1) == (1, 1)


@pytest.mark.parametrize("q", [0.5, 1, 2])
def test_the_weights_are_the_gradient_of_a_sum_of_powers(q: float) -> None:
    """Of (m^(q+1) + o^(q+1)) / (q + 1), up to a common factor."""
    m, o, h = 0.12, 0.31, 1e-6

    def total(m: float, o: float) -> float:
        return float(m ** (q + 1) + o ** (q + 1)) / (q + 1)

    slopes = (total(m + h, o) - total(m, o)) / h, (total(m, o + h) - total(m, o)) / h
    harmful, benign = side_weights(m, o, q)
    assert harmful / benign == pytest.approx(slopes[0] / slopes[1], rel=1e-4)


def test_a_side_multiplies_the_weights_of_its_kinds() -> None:
    samples = [sample(), replace(sample(), weight=1.5)]
    assert [s.weight for s in weigh(samples, [True, False], (0.5, 2.0))] == [0.5, 3.0]
