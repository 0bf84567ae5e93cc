"""Micro-batches: all samples once, within the budget, neighbours by prompt."""

from collections import Counter

from cada.training.logprobs import forest_of
from cada.training.samples import microbatches
from tests.training.data import forest_samples

SAMPLES = forest_samples([4, 1, 9], packs=2, requests=3, pack_tokens=10)


def test_every_sample_is_in_one_pass() -> None:
    batches = microbatches(SAMPLES, 64)
    assert len(batches) > 1
    assert Counter(s for batch in batches for s in batch) == Counter(SAMPLES)


def test_a_pass_stays_within_the_budget() -> None:
    for batch in microbatches(SAMPLES, 64):
        assert sum(forest_of(batch)[0].lengths) <= 64


def test_a_sample_over_the_budget_stands_alone() -> None:
    assert [len(b) for b in microbatches(SAMPLES, 1)] == [1] * len(SAMPLES)


def test_a_large_budget_makes_one_pass() -> None:
    assert [len(b) for b in microbatches(SAMPLES, 10_000)] == [len(SAMPLES)]


def test_no_sample_no_pass() -> None:
    assert microbatches([], 64) == []
