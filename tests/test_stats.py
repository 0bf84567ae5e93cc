"""Intervals against published and exactly known figures."""

from math import isnan

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, bootstrap

from cada.stats import (
    corrected_rate,
    holm,
    mean_bounded,
    mean_normal,
    paired_means,
    paired_rates,
    repeated_difference,
    repeated_mean,
    wilson,
)

Scores = NDArray[np.float64]


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe 1998 (Statistics in Medicine 17, table I), method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval(successes: int, n: int, low: float, high: float) -> None:
    found = wilson(successes, n)
    assert found.value == successes / n
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(n - successes, n)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))


def test_a_rate_lies_within_its_interval_at_both_ends() -> None:
    for n in (1, 20, 1000):
        for successes in (0, n):
            found = wilson(successes, n)
            assert 0 <= found.low <= found.value <= found.high <= 1
            assert found.high - found.low > 0


def test_a_rate_of_nothing_says_nothing() -> None:
    found = wilson(0, 0)
    assert isnan(found.value)
    assert (found.low, found.high, found.n) == (0, 1, 0)


def test_the_mean_and_its_normal_interval() -> None:
    found = mean_normal([1.0, 2.0, 3.0, 4.0])
    half = 1.959964 * (5 / 3 / 4) ** 0.5
    assert (found.value, found.low, found.high) == pytest.approx((2.5, 2.5 - half, 2.5 + half))
    wide = mean_normal([1.0, 2.0, 3.0, 4.0], 0.99)
    assert wide.high > found.high


def test_the_mean_of_one_value_and_of_none() -> None:
    assert mean_normal([0.7]) == mean_normal([0.7], 0.5)
    assert (mean_normal([0.7]).low, mean_normal([0.7]).high) == (0.7, 0.7)
    assert isnan(mean_normal([]).value)


def test_a_faultless_judge_needs_no_correction() -> None:
    found = corrected_rate(30, 100, sensitivity=(1000, 1000), specificity=(1000, 1000))
    assert found.value == pytest.approx(0.3)
    plain = wilson(30, 100)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.01)


@pytest.mark.parametrize("true", [0.05, 0.3, 0.8])
def test_the_corrected_interval_covers_the_true_rate(true: float) -> None:
    chance = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        found = chance.binomial(300, true * 0.9 + (1 - true) * 0.15)
        right, clean = chance.binomial(200, 0.9), chance.binomial(200, 0.85)
        estimate = corrected_rate(
            int(found), 300, sensitivity=(int(right), 200), specificity=(int(clean), 200)
        )
        covered += estimate.low <= true <= estimate.high
    assert 0.93 <= covered / 1000 <= 0.99


def test_a_judge_without_labels_or_skill_corrects_nothing() -> None:
    with pytest.raises(ValueError, match="both kinds"):
        corrected_rate(1, 2, sensitivity=(0, 0), specificity=(5, 5))
    with pytest.raises(ValueError, match="chance"):
        corrected_rate(1, 2, sensitivity=(1, 4), specificity=(2, 4))
    assert isnan(corrected_rate(0, 0, sensitivity=(5, 5), specificity=(5, 5)).value)


@pytest.mark.parametrize("n", [250, 313, 520])
@pytest.mark.parametrize("p", [0.01, 0.1, 0.5])
def test_wilsons_interval_covers_the_true_rate(n: int, p: float) -> None:
    chances = binom.pmf(np.arange(n + 1), n, p)
    found = [wilson(k, n) for k in range(n + 1)]
    covered = sum(c for c, e in zip(chances, found, strict=True) if e.low <= p <= e.high)
    assert 0.93 <= covered <= 0.97


def graded(chance: np.random.Generator, share: float, shape: tuple[int, ...]) -> Scores:
    """Scores of 0, and of 1/8 to 1 for a share of the items; their mean is 0.5625 × share."""
    return (chance.random(shape) < share) * chance.integers(1, 9, shape) / 8


@pytest.mark.parametrize("n", [250, 313, 520])
@pytest.mark.parametrize("kind", ["zero or one", "graded", "mostly slight"])
def test_the_interval_of_a_mean_covers_the_true_mean(n: int, kind: str) -> None:
    chance, mean, runs = np.random.default_rng(0), 0.05, 1500
    if kind == "zero or one":
        scores = (chance.random((runs, n)) < mean).astype(float)
    elif kind == "graded":
        scores = graded(chance, mean / 0.5625, (runs, n))
    else:  # nine in ten harmful answers hardly help, the tenth does in full
        full = np.where(chance.random((runs, n)) < 0.1, 1.0, 0.125)
        scores = (chance.random((runs, n)) < mean / 0.2125) * full
    found = [mean_bounded(row) for row in scores]
    assert 0.92 <= sum(e.low <= mean <= e.high for e in found) / runs <= 0.98


def test_the_mean_of_zeros_and_ones_is_a_rate() -> None:
    for hits, n in [(0, 250), (7, 97), (520, 520), (1, 1)]:
        found, rate = mean_bounded([1.0] * hits + [0.0] * (n - hits)), wilson(hits, n)
        assert (found.value, found.n) == (rate.value, rate.n)
        assert (found.low, found.high) == pytest.approx((rate.low, rate.high))
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_grades_between_are_known_better_than_zeros_and_ones() -> None:
    some, all_or_none = mean_bounded([0.25, 0.75] * 50), mean_bounded([0.0, 1.0] * 50)
    assert some.value == all_or_none.value == 0.5
    assert some.high - some.low == pytest.approx((all_or_none.high - all_or_none.low) / 2, rel=0.1)
    same = mean_bounded([0.5] * 100)
    assert same.low < 0.5 < same.high
    assert isnan(mean_bounded([]).value)
    assert (mean_bounded([]).low, mean_bounded([]).high) == (0, 1)
    with pytest.raises(ValueError, match="outside"):
        mean_bounded([0.5, 1.5])


def pairs(both: int, first: int, second: int, neither: int) -> tuple[list[bool], list[bool]]:
    cells = [(True, True, both), (True, False, first), (False, True, second)]
    cells.append((False, False, neither))
    made = [(a, b) for a, b, count in cells for _ in range(count)]
    return [a for a, _ in made], [b for _, b in made]


def test_paired_rates_against_published_figures() -> None:
    # Altman et al. 2000 (Statistics with confidence, table 6.2): Newcombe's tenth method.
    one, two = pairs(14, 0, 5, 22)
    found = paired_rates(one, two)
    assert found.value == pytest.approx(5 / 41)
    assert (found.low, found.high) == pytest.approx((0.011, 0.226), abs=5e-4)
    assert found.p == 2 * 0.5**5
    back = paired_rates(two, one)
    assert (back.value, back.p) == (-found.value, found.p)
    assert (-back.high, -back.low) == pytest.approx((found.low, found.high))


def test_mcnemar_looks_at_the_discordant_pairs_alone() -> None:
    p = 2 * (1 + 10) * 0.5**10  # one or none of ten coins
    assert paired_rates(*pairs(3, 9, 1, 5)).p == pytest.approx(p)
    assert paired_rates(*pairs(300, 9, 1, 500)).p == pytest.approx(p)


def test_pairs_that_never_differ_leave_room_for_doubt() -> None:
    for found in (
        paired_rates(*pairs(0, 0, 0, 313)),
        paired_means([0.0] * 313, [0.0] * 313),
        paired_rates(*pairs(313, 0, 0, 0)),
    ):
        assert (found.value, found.p, found.n) == (0, 1, 313)
        assert -0.02 < found.low < 0 < found.high < 0.02
    one = paired_means([0.0] * 20, [0.5] + [0.0] * 19)
    assert one.p == 1
    assert one.low < 0 < one.high


@pytest.mark.parametrize("chances", [(0.02, 0.05), (0.10, 0.05), (0.01, 0.01)])
def test_the_interval_of_a_paired_difference_covers_the_true_one(
    chances: tuple[float, float],
) -> None:
    chance, n, runs = np.random.default_rng(2), 250, 250
    covered = {"rates": 0, "means": 0}
    for _ in range(runs):
        alike, shared = chance.random(n) < 0.1, graded(chance, 1.0, (n,))
        one, two = (np.where(alike, shared, graded(chance, c, (n,))) for c in chances)
        true = 0.9 * (chances[1] - chances[0])
        rates = paired_rates(list(one > 0), list(two > 0))
        means = paired_means(list(one), list(two))
        covered["rates"] += rates.low <= true <= rates.high
        covered["means"] += means.low <= 0.5625 * true <= means.high
    assert all(hits / runs >= 0.92 for hits in covered.values()), covered


def test_paired_means_agree_with_the_bootstrap_where_many_pairs_differ() -> None:
    chance = np.random.default_rng(3)
    one = graded(chance, 0.6, (400,))
    two = np.where(chance.random(400) < 0.5, one, graded(chance, 0.4, (400,)))
    found = paired_means(list(one), list(two))
    resampled = bootstrap(
        (one, two),
        lambda x, y, axis: np.mean(y - x, axis=axis),
        paired=True,
        method="BCa",
        n_resamples=4999,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert found.value == pytest.approx(float(np.mean(two - one)))
    assert (found.low, found.high) == pytest.approx((resampled.low, resampled.high), abs=0.006)
    assert found == paired_means(list(one), list(two))


def test_the_permutation_test_is_exact_on_few_pairs() -> None:
    # four pairs that all rise: one sign pattern of sixteen on either side
    found = paired_means([0.0] * 9, [0.125, 0.25, 0.5, 1.0] + [0.0] * 5)
    assert found.p == pytest.approx(2 / 16)


def test_the_permutation_test_seldom_calls_noise_a_difference() -> None:
    chance = np.random.default_rng(4)
    found = [
        paired_means(list(graded(chance, 0.2, (40,))), list(graded(chance, 0.2, (40,)))).p
        for _ in range(60)
    ]
    assert sum(p < 0.05 for p in found) <= 7
    moved = paired_means([0.0] * 40, list(graded(chance, 0.9, (40,))))
    assert moved.p < 0.001


def test_the_permutation_test_tells_small_p_values_apart() -> None:
    # 40 pairs that all rise alike: exactly 2 · 2⁻⁴⁰; resampling alone would stop at 2 in 10,000
    found = paired_means([0.25] * 40, [0.5] * 40).p
    assert 2 * 0.5**40 <= found < 1e-8
    # where both can tell, the bound is never the smaller one
    few = paired_means([0.25] * 12, [0.5] * 12).p
    assert few == pytest.approx(2 * 0.5**12)


def test_holms_correction() -> None:
    # Holm 1979: the smallest is multiplied by m, the next by m − 1; none falls below an earlier one
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_differences_need_pairs() -> None:
    with pytest.raises(ValueError, match="both sides"):
        paired_rates([], [])
    with pytest.raises(ValueError, match="both sides"):
        paired_means([0.5], [0.5, 0.5])


def runs_of(
    random: np.random.Generator, items: Scores, seeds: float, middle: float, runs: int = 3
) -> list[list[float | None]]:
    """0/1 scores of items by training runs whose own levels differ by `seeds`, in logits."""
    own = random.normal(0, seeds, runs)
    p = 1 / (1 + np.exp(-(middle + items[:, None] + own[None, :])))
    scores: list[list[float | None]] = (random.random(p.shape) < p).astype(float).tolist()
    return scores


@pytest.mark.parametrize(("middle", "seeds"), [(-3.0, 0.0), (0.0, 0.3), (0.0, 0.8), (0.6, 0.8)])
def test_a_mean_over_items_and_runs_covers_the_truth_where_one_over_items_does_not(
    middle: float, seeds: float
) -> None:
    random = np.random.default_rng(0)
    level = middle + random.normal(0, 2, 200_000) + random.normal(0, seeds, 200_000)
    truth = float((1 / (1 + np.exp(-level))).mean())
    covered, alone = 0, 0
    for _ in range(200):
        scores = runs_of(random, random.normal(0, 2, 100), seeds, middle)
        found = repeated_mean(scores)
        covered += found.low <= truth <= found.high
        items = mean_bounded([sum(v or 0 for v in row) / 3 for row in scores])
        alone += items.low <= truth <= items.high
    assert covered / 200 >= 0.86
    if seeds > 0.5:
        assert alone / 200 < 0.75


def test_a_mean_over_runs_is_sane_at_its_edges() -> None:
    one = repeated_mean([[1.0], [0.0], [1.0], [1.0]])
    assert one == mean_bounded([1.0, 0.0, 1.0, 1.0])
    none = repeated_mean([[0.0, 0.0, 0.0]] * 50)
    assert (none.value, none.low, none.n) == (0.0, 0.0, 50)
    assert none.high == pytest.approx(wilson(0, 50).high)
    # Every run refuses all or nothing: nobody knows what a fourth would do.
    split = repeated_mean([[1.0, 0.0, 1.0]] * 50)
    assert (split.low, split.high) == (0.0, 1.0)
    gaps = repeated_mean([[1.0, None], [None, None], [0.0, 1.0]])
    assert (gaps.value, gaps.n) == (0.75, 2)
    assert repeated_mean([]).n == 0


@pytest.mark.parametrize("seeds", [0.0, 0.8])
def test_equal_methods_are_seldom_told_apart(seeds: float) -> None:
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(200):
        items = random.normal(0, 2, 100)
        first, second = (runs_of(random, items, seeds, 0.0) for _ in range(2))
        wrong += repeated_difference(first, second).p < 0.05
    assert wrong / 200 <= 0.09


def test_a_difference_over_runs() -> None:
    random = np.random.default_rng(2)
    items = random.normal(0, 2, 100)
    first, second = (runs_of(random, items, 0.1, middle) for middle in (-1.0, 1.5))
    found = repeated_difference(first, second)
    assert found.value == pytest.approx(
        float(np.mean(np.array(second, float)) - np.mean(np.array(first, float)))
    )
    assert 0 < found.low < found.value < found.high
    assert found.p < 0.001
    other = repeated_difference(second, first)
    assert (other.value, other.p) == pytest.approx((-found.value, found.p))
    # The order of the runs tells nothing: they are not paired.
    turned = repeated_difference(first, [row[::-1] for row in second])
    assert (turned.low, turned.p) == pytest.approx((found.low, found.p))
    same = repeated_difference([[0.0, 0.0]] * 40, [[0.0, 0.0]] * 40)
    assert (same.value, same.p) == (0.0, 1.0)
    assert same.low < 0 < same.high
    all_differ = repeated_difference([[0.0]] * 40, [[1.0, 1.0]] * 40)
    assert all_differ.value == 1
    assert all_differ.p < 0.001
    missing = repeated_difference([[None], [1.0], [0.0]], [[1.0], [1.0], [1.0]])
    assert (missing.n, missing.value) == (2, 0.5)
    with pytest.raises(ValueError, match="at least"):
        repeated_difference([[1.0]], [])
    with pytest.raises(ValueError, match="at least"):
        repeated_difference([[None]], [[1.0]])
