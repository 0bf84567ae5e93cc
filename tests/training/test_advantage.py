"""Advantages against figures worked out by hand."""

from dataclasses import replace

import pytest

from cada.training.advantage import (
    centre,
    credit_verdicts,
    groups_without_signal,
    only_positive,
)
from tests.training.data import sample


def advantages(rewards: list[list[float | None]], how: str) -> list[float]:
    samples = [sample(reward=r, group=g) for g, group in enumerate(rewards) for r in group]
    return [s.advantage for s in centre(samples, how)]  # type: ignore[arg-type]


def test_batch_subtracts_the_mean_over_all_groups() -> None:
    assert advantages([[1, -1], [1, 1]], "batch") == [0.5, -1.5, 0.5, 0.5]


def test_group_subtracts_the_mean_of_the_request() -> None:
    assert advantages([[1, 0, -1, 0], [1, 1, 1, -1]], "group") == [1, 0, -1, 0, 0.5, 0.5, 0.5, -1.5]


def test_leave_one_out_subtracts_the_mean_of_the_others() -> None:
    assert advantages([[1, 0, -1], [1, -1, -1]], "leave_one_out") == [1.5, 0, -1.5, 2, -1, -1]


def test_reward_subtracts_nothing() -> None:
    assert advantages([[1, 0], [-1, None]], "reward") == [1, 0, -1, 0]


def test_leave_one_out_is_group_stretched_by_g_over_g_minus_1() -> None:
    rewards: list[list[float | None]] = [[1, 0, -1, 1, 1], [0, 0, -1, 0, 1]]
    stretched = [a * 5 / 4 for a in advantages(rewards, "group")]
    assert advantages(rewards, "leave_one_out") == pytest.approx(stretched, abs=1e-12)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("batch", [1.0, -1.0, 0.0, 1.0, 0.0, -1.0]),
        ("group", [1.0, -1.0, 0.0, 1.0, 0.0, -1.0]),
        ("leave_one_out", [2.0, -2.0, 0.0, 2.0, 0.0, -2.0]),
    ],
)
def test_an_unscored_sample_has_no_advantage_and_is_in_no_mean(
    how: str, expected: list[float]
) -> None:
    assert advantages([[1, -1, None], [1, None, -1]], how) == expected


def test_a_single_scored_sample_of_a_request_has_nobody_to_be_compared_with() -> None:
    assert advantages([[1, None], [-1, 1]], "leave_one_out")[:2] == [0, 0]


@pytest.mark.parametrize("how", ["batch", "group", "leave_one_out"])
def test_equal_rewards_give_exactly_no_signal(how: str) -> None:
    for reward in (1.0, 0.0, -1.0):
        assert set(advantages([[reward] * 7] * 3, how)) == {0.0}


def test_the_share_of_groups_without_signal() -> None:
    rewards: list[list[float | None]] = [[1, 1], [1, -1], [None, None], [None, 0]]
    samples = [sample(reward=r, group=g) for g, group in enumerate(rewards) for r in group]
    assert groups_without_signal(samples) == 0.75


def test_only_whole_rollouts_with_the_full_reward_are_distilled() -> None:
    samples = [
        sample(reward=1.0, group=0),
        sample(reward=1.0, group=0, finish="length"),
        sample(reward=0.0, group=0),
        sample(reward=-1.0, group=0),
        sample(reward=None, group=0),
        sample(reward=1.0, group=1),
    ]
    kept = only_positive(samples, None)
    assert [s.rollout for s in kept] == [samples[0].rollout, samples[5].rollout]
    assert [s.advantage for s in kept] == [1.0, 1.0]


def test_so_many_of_a_request_are_kept() -> None:
    samples = [sample(reward=1.0, group=g) for g in (0, 0, 0, 1)]
    assert [s.group for s in only_positive(samples, 2)] == [0, 0, 1]


def test_a_sample_counts_by_its_weight_after_the_centring() -> None:
    light, heavy = sample(reward=1), replace(sample(reward=0, group=1), weight=3.0)
    assert [s.advantage for s in centre([light, heavy], "batch")] == [0.5, -1.5]
    kept = only_positive([replace(light, weight=1.6)], None)
    assert [s.advantage for s in kept] == [1.6]


def test_a_verdict_is_credited_for_being_right_whatever_the_output_earned() -> None:
    said = [(1.0, True), (0.0, True), (-1.0, False), (-1.0, None), (-1.0, True)]
    samples = [replace(sample(reward=r), verdict_right=right) for r, right in said]
    found = credit_verdicts(samples, "batch")
    assert [s.verdict_advantage for s in found] == [0.5, 0.5, -1.5, None, 0.5]


def test_a_verdict_counts_by_its_samples_weight_after_the_centring() -> None:
    right, wrong = (replace(sample(), verdict_right=said) for said in (True, False))
    found = credit_verdicts([right, replace(wrong, weight=3.0)], "batch")
    assert [s.verdict_advantage for s in found] == [1.0, -3.0]


def test_nothing_is_learnt_from_what_follows_a_wrong_verdict() -> None:
    said = [(1.0, True), (0.0, True), (-1.0, False), (1.0, False), (-1.0, None)]
    samples = [replace(sample(reward=r), verdict_right=right) for r, right in said]
    assert [s.advantage for s in credit_verdicts(samples, "batch")] == [1, 0, 0, 0, -1]


def test_what_follows_the_verdict_is_centred_in_its_group() -> None:
    said = [(0, 1.0, True), (0, -1.0, False), (0, 0.0, True), (1, 1.0, True)]
    samples = [replace(sample(reward=r, group=g), verdict_right=v) for g, r, v in said]
    assert [s.advantage for s in credit_verdicts(samples, "group")] == [0.5, 0, -0.5, 0]


def test_verdicts_that_are_all_right_or_missing_have_no_signal() -> None:
    samples = [replace(sample(), verdict_right=True) for _ in range(3)]
    assert {s.verdict_advantage for s in credit_verdicts(samples, "batch")} == {0.0}
    assert credit_verdicts([sample()], "batch") == centre([sample()], "batch")
