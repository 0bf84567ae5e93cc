"""Micro-batches: all samples once, within the budget, neighbours by prompt."""

from collections import Counter

from cada.rollout.types import Prompt
from cada.training.logprobs import forest_of
from cada.training.samples import Sample, microbatches, size
from tests.training.data import forest_samples


def packs(samples: list[Sample]) -> list[Prompt]:
    """One prompt of each pack."""
    return list({s.prompt.pack_ids: s.prompt for s in samples}.values())


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


def test_what_fits_into_a_pass_is_not_cut() -> None:
    """Three packs of which two and a half would fit: in order, the third would be torn."""
    samples = forest_samples([9, 9], packs=3, requests=4, pack_tokens=40)
    whole = max(
        size([s for s in samples if s.prompt.pack_ids == p.pack_ids]) for p in packs(samples)
    )
    batches = microbatches(samples, int(2.5 * whole))
    assert sorted(len(packs(batch)) for batch in batches) == [1, 2]
    assert sum(map(size, batches)) == size(samples)


def test_a_pack_that_does_not_fit_is_cut_between_requests() -> None:
    samples = forest_samples([9, 9, 9], packs=1, requests=4, pack_tokens=20)
    one = max(size([s for s in samples if s.group == g]) for g in range(4))
    batches = microbatches(samples, one + 20)
    assert len(batches) > 1
    for batch in batches:
        assert all(n == 3 for n in Counter(s.group for s in batch).values())


def test_a_pass_takes_small_pieces_of_several_packs() -> None:
    samples = forest_samples([5], packs=6, requests=1, pack_tokens=10)
    assert len(microbatches(samples, size(samples) // 2 + 10)) == 2


def test_no_sample_no_pass() -> None:
    assert microbatches([], 64) == []
