"""Sampling with shared prefixes against transformers' own generation and plain forwards."""

from dataclasses import replace
from random import Random

import pytest
import torch
from torch import Tensor

from cada.models.load import Policy
from cada.rollout.transformers_engine import (
    PlainEngine,
    SharedEngine,
    _draw,
    make_engine,
    next_tokens,
)
from cada.rollout.types import Prompt, Rollout, Sampling
from tests.models.tiny import lora_policy, policy_of, tiny_llama, tiny_mistral
from tests.training.data import tokens

GREEDY = Sampling(24, temperature=0)


def make_prompts(packs: int = 3, requests: int = 3, pack_tokens: int = 9) -> list[Prompt]:
    """Requests of uneven length under several packs, in no order."""
    random = Random(0)
    made = []
    for p in range(packs):
        pack = tokens(random, pack_tokens + p if pack_tokens else 0)
        made += [
            Prompt(f"{p}-{r}", "cases", pack, tokens(random, 1 + 3 * r)) for r in range(requests)
        ]
    random.shuffle(made)
    return made


PROMPTS = make_prompts()


def stopping_policy() -> Policy:
    """Several stop tokens, so that completions of 24 tokens end at many different places."""
    return policy_of(tiny_llama(), stop_ids=(2, 7, 11, 30))


def flat(groups: list[list[Rollout]]) -> list[Rollout]:
    return [r for group in groups for r in group]


def plain_logprobs(policy: Policy, rollout: Rollout, temperature: float) -> Tensor:
    """`[L, V]` from one forward over the whole sequence."""
    ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids])
    with torch.no_grad():
        logits: Tensor = policy.model(input_ids=ids).logits[0]
    return (logits[len(rollout.prompt_ids) - 1 : -1] / temperature).log_softmax(-1)


@pytest.mark.parametrize("pack_tokens", [9, 0])
def test_greedy_is_the_same_token_by_token(pack_tokens: int) -> None:
    policy, prompts = stopping_policy(), make_prompts(pack_tokens=pack_tokens)
    shared = flat(SharedEngine(policy).generate(prompts, 1, GREEDY, 0))
    plain = flat(PlainEngine(policy).generate(prompts, 1, GREEDY, 0))
    assert [r.request_id for r in shared] == [p.request_id for p in prompts]
    assert [replace(r, logprobs=()) for r in shared] == [replace(r, logprobs=()) for r in plain]
    for one, two in zip(shared, plain, strict=True):
        assert one.logprobs == pytest.approx(two.logprobs, abs=1e-4)
    assert {r.finish_reason for r in shared} == {"stop", "length"}


def test_greedy_under_lora_is_the_adapted_models() -> None:
    policy = lora_policy()
    shared = flat(SharedEngine(policy).generate(PROMPTS, 1, GREEDY, 0))
    plain = flat(PlainEngine(policy).generate(PROMPTS, 1, GREEDY, 0))
    base = flat(PlainEngine(policy_of(tiny_llama())).generate(PROMPTS, 1, GREEDY, 0))
    assert [r.completion_ids for r in shared] == [r.completion_ids for r in plain]
    assert [r.completion_ids for r in shared] != [r.completion_ids for r in base]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_greedy_does_not_depend_on_the_batch(rows: int) -> None:
    policy = stopping_policy()
    whole = SharedEngine(policy).generate(PROMPTS, 2, GREEDY, 0)
    cut = SharedEngine(policy, rows_per_batch=rows).generate(PROMPTS, 2, GREEDY, 0)
    assert [r.completion_ids for r in flat(cut)] == [r.completion_ids for r in flat(whole)]


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("engine", [SharedEngine, PlainEngine])
def test_logprobs_are_a_plain_forwards(
    engine: type[SharedEngine] | type[PlainEngine], temperature: float
) -> None:
    policy = stopping_policy()
    done = flat(engine(policy).generate(PROMPTS, 4, Sampling(12, temperature), 0))
    for r in done:
        rows = plain_logprobs(policy, r, temperature)
        expected = rows.gather(1, torch.tensor(r.completion_ids)[:, None])[:, 0]
        assert r.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("engine", [SharedEngine, PlainEngine])
def test_top_p_logprobs_are_the_renormalised_nucleus(
    engine: type[SharedEngine] | type[PlainEngine],
) -> None:
    policy = stopping_policy()
    done = flat(engine(policy).generate(PROMPTS, 4, Sampling(8, 1.0, top_p=0.6), 0))
    for r in done:
        for row, token, found in zip(
            plain_logprobs(policy, r, 1.0).exp(), r.completion_ids, r.logprobs, strict=True
        ):
            nucleus, mass = set[int](), 0.0
            for index in row.argsort(descending=True).tolist():
                nucleus.add(index)
                mass += float(row[index])
                if mass >= 0.6:
                    break
            assert token in nucleus
            assert found == pytest.approx(float((row[token] / mass).log()), abs=1e-4)


@pytest.mark.parametrize("engine", [SharedEngine, PlainEngine])
def test_the_seed_decides_the_rollouts(
    engine: type[SharedEngine] | type[PlainEngine],
) -> None:
    policy, sampling = stopping_policy(), Sampling(12)
    one = engine(policy).generate(PROMPTS, 3, sampling, 5)
    torch.manual_seed(99)
    assert engine(policy).generate(PROMPTS, 3, sampling, 5) == one
    assert engine(policy).generate(PROMPTS, 3, sampling, 6) != one
    assert len({r.completion_ids for r in one[0]}) > 1


@pytest.mark.parametrize("engine", [SharedEngine, PlainEngine])
def test_a_completion_ends_with_its_first_stop_token(
    engine: type[SharedEngine] | type[PlainEngine],
) -> None:
    policy = stopping_policy()
    done = flat(engine(policy, rows_per_batch=7).generate(PROMPTS, 6, Sampling(20), 1))
    assert {r.finish_reason for r in done} == {"stop", "length"}
    for r in done:
        assert len(r.logprobs) == len(r.completion_ids)
        stops = [i for i, t in enumerate(r.completion_ids) if t in policy.stop_ids]
        if r.finish_reason == "stop":
            assert stops == [len(r.completion_ids) - 1]
        else:
            assert not stops
            assert len(r.completion_ids) == 20


@pytest.mark.parametrize("engine", [SharedEngine, PlainEngine])
def test_the_models_generation_defaults_do_not_bend_the_policy(
    engine: type[SharedEngine] | type[PlainEngine],
) -> None:
    """Published models set such defaults for chatting; a policy is sampled as it is."""
    policy = stopping_policy()
    expected = engine(policy).generate(PROMPTS, 2, Sampling(16), 3)
    greedy = engine(policy).generate(PROMPTS, 1, GREEDY, 3)
    bent = policy.model.generation_config
    bent.repetition_penalty, bent.no_repeat_ngram_size, bent.min_p = 1.7, 1, 0.2
    bent.top_k, bent.typical_p, bent.bad_words_ids, bent.min_new_tokens = 2, 0.5, [[5]], 9
    assert engine(policy).generate(PROMPTS, 2, Sampling(16), 3) == expected
    assert engine(policy).generate(PROMPTS, 1, GREEDY, 3) == greedy


def test_progress_counts_the_rows() -> None:
    policy = stopping_policy()
    seen: list[tuple[int, int]] = []
    SharedEngine(policy, 4, lambda done, total: seen.append((done, total))).generate(
        PROMPTS, 1, Sampling(2), 0
    )
    assert seen == [(4, 9), (8, 9), (9, 9)]


def test_a_sliding_window_is_sampled_on_the_plain_path() -> None:
    policy = policy_of(tiny_mistral())
    engine = make_engine(policy)
    assert isinstance(engine, PlainEngine)
    done = flat(engine.generate(PROMPTS, 2, Sampling(10), 0))
    for r in done:
        expected = plain_logprobs(policy, r, 1.0).gather(1, torch.tensor(r.completion_ids)[:, None])
        assert r.logprobs == pytest.approx(expected[:, 0].tolist(), abs=1e-4)


def test_a_full_attention_model_is_sampled_with_shared_prefixes() -> None:
    assert isinstance(make_engine(policy_of(tiny_llama())), SharedEngine)


def test_draws_follow_the_distribution() -> None:
    """Pearson's statistic stays under its 99.9 % point, with no draw where there is no weight."""
    weights = torch.tensor([0.0, 0.5, 0.01, 0.0, 0.29, 0.2, 0.0])
    n = 20_000
    drawn = _draw(weights.expand(n, -1), torch.Generator().manual_seed(0))
    counts = drawn.bincount(minlength=7).double()
    expected = weights.double() * n
    some = expected > 0
    assert counts[~some].sum() == 0
    statistic = ((counts - expected)[some].square() / expected[some]).sum()
    assert float(statistic) < 16.27


def test_temperature_zero_takes_the_likeliest_at_temperature_one() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    token, logprob = next_tokens(logits, Sampling(1, temperature=0), torch.Generator())
    assert token.tolist() == [1, 0]
    torch.testing.assert_close(logprob, logits.log_softmax(-1)[[0, 1], [1, 0]])
