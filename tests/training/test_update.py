"""One update: micro-batches, the reference, NaN, and every kind of model."""

import copy
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from cada.config.phase import Phase
from cada.models.load import Policy
from cada.training.references import Reference
from cada.training.samples import Sample
from cada.training.update import UpdateResult, completion_stats, update
from tests.models.tiny import lora_policy, policy_of, tiny_llama, tiny_mistral
from tests.training.data import forest_samples, phase

SAMPLES = forest_samples([4, 1, 9], packs=2, requests=3, pack_tokens=10)
EXACT = {"beta": 0.3, "estimator": "exact"}


def step(
    policy: Policy,
    how: Phase,
    *,
    samples: list[Sample] = SAMPLES,
    tokens: int = 4096,
    reference: Reference | None = None,
    norm: float = 1e9,
) -> tuple[UpdateResult, dict[str, Tensor]]:
    """One step of plain gradient descent, so that weights move by exactly minus the gradient."""
    weights = dict(policy.model.named_parameters())
    before = {n: p.detach().clone() for n, p in weights.items()}
    trained = [p for p in weights.values() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=1.0)
    result = update(
        policy,
        optimiser,
        Accelerator(cpu=True),
        samples,
        how,
        reference,
        tokens=tokens,
        max_grad_norm=norm,
    )
    moved = {n: before[n] - p.detach() for n, p in weights.items()}
    return result, moved


def other(dtype: torch.dtype = torch.float64) -> Reference:
    return Reference(policy_of(tiny_llama(seed=1).to(dtype)), copy_weights=True)


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_sum"])
def test_micro_batches_change_neither_loss_nor_gradient(aggregation: str) -> None:
    how = phase(kl=EXACT, loss_aggregation=aggregation)
    small, gradient = step(policy_of(tiny_llama().double()), how, tokens=1, reference=other())
    large, expected = step(policy_of(tiny_llama().double()), how, tokens=9999, reference=other())
    assert small.loss == pytest.approx(large.loss, rel=1e-7)
    assert small.kl == pytest.approx(large.kl, rel=1e-7)
    assert small.entropy == pytest.approx(large.entropy, rel=1e-7)
    assert small.tokens == large.tokens == sum(len(s.rollout.completion_ids) for s in SAMPLES)
    for name, value in expected.items():
        assert float((gradient[name] - value).norm()) <= 1e-7 * float(value.norm()), name


def test_the_gradient_is_clipped_and_its_norm_reported_unclipped() -> None:
    free, _ = step(policy_of(tiny_llama().double()), phase())
    clipped, moved = step(policy_of(tiny_llama().double()), phase(), norm=0.01)
    length = torch.stack([v.norm() for v in moved.values()]).norm()
    assert free.grad_norm > 0.01
    assert clipped.grad_norm == pytest.approx(free.grad_norm)
    assert float(length) == pytest.approx(0.01, rel=1e-3)


def test_distillation_asks_for_the_samples_at_their_own_temperature() -> None:
    how = phase(
        loss_context="bare", positive_only=True, advantage="reward", temperature=0.5, minibatch=4
    )
    kept = [s.with_advantage(1.0) for s in SAMPLES]
    expected = -completion_stats(policy_of(tiny_llama().double()), kept, 0.5).logprob.mean()
    result, _ = step(policy_of(tiny_llama().double()), how, samples=kept)
    assert result.loss == pytest.approx(float(expected.detach()), rel=1e-7)


def test_a_step_along_the_gradient_makes_what_paid_off_likelier() -> None:
    policy = policy_of(tiny_llama())
    before = completion_stats(policy, SAMPLES, 1.0).logprob.detach()
    for group in policy.model.parameters():
        group.requires_grad_(True)
    optimiser = torch.optim.SGD(policy.model.parameters(), lr=0.01)
    accelerator = Accelerator(cpu=True)
    update(policy, optimiser, accelerator, SAMPLES, phase(), None, tokens=4096, max_grad_norm=1.0)
    after = completion_stats(policy, SAMPLES, 1.0).logprob.detach()
    lengths = torch.tensor([len(s.rollout.completion_ids) for s in SAMPLES])
    weight = torch.tensor([s.advantage for s in SAMPLES]).repeat_interleave(lengths)
    assert float((weight * (after - before)).sum()) > 0


def test_kl_is_nothing_at_the_start() -> None:
    policy = policy_of(tiny_llama().double())
    reference = Reference(policy, copy_weights=True)
    silent = [s.with_advantage(0.0) for s in SAMPLES]
    result, moved = step(policy, phase(kl=EXACT), samples=silent, reference=reference)
    assert result.kl == pytest.approx(0, abs=1e-9)
    assert max(float(v.abs().max()) for v in moved.values()) < 1e-7


def test_a_copied_reference_stays_where_it_was() -> None:
    policy = policy_of(tiny_llama().double())
    reference = Reference(policy, copy_weights=True)
    step(policy, phase(), reference=reference, norm=1.0)
    result, _ = step(policy, phase(kl=EXACT), reference=reference)
    assert result.kl is not None
    assert result.kl > 1e-3


def test_the_kl_term_pulls_back_to_the_reference() -> None:
    policy = policy_of(tiny_llama().double())
    silent = [s.with_advantage(0.0) for s in SAMPLES]
    reference = other()
    first, _ = step(policy, phase(kl=EXACT), samples=silent, reference=reference, norm=0.05)
    second, _ = step(policy, phase(kl=EXACT), samples=silent, reference=reference)
    assert first.kl is not None
    assert second.kl is not None
    assert second.kl < first.kl


def test_lora_refers_to_its_base_without_a_copy() -> None:
    """The adapters' base as the reference is the same as a copy of the base."""
    policy = lora_policy(torch.float64)
    base = policy_of(tiny_llama().double())
    shared, moved = step(policy, phase(kl=EXACT), reference=Reference(policy, copy_weights=False))
    again = lora_policy(torch.float64)
    copied, expected = step(again, phase(kl=EXACT), reference=Reference(base, copy_weights=True))
    assert shared.kl == pytest.approx(copied.kl, rel=1e-9)
    assert shared.kl is not None
    assert shared.kl > 1e-3
    for name, value in expected.items():
        torch.testing.assert_close(moved[name], value)
        assert bool(value.any()) == ("lora_" in name), name


def test_a_copied_reference_keeps_the_adapters_as_they_were() -> None:
    policy = lora_policy(torch.float64)
    reference = Reference(policy, copy_weights=True)
    result, _ = step(policy, phase(kl=EXACT), reference=reference, norm=1.0)
    assert result.kl == pytest.approx(0, abs=1e-9)
    later, _ = step(policy, phase(kl=EXACT), reference=reference)
    assert later.kl is not None
    assert later.kl > 1e-6


def poison(policy: Policy) -> None:
    """Make one weight's gradient NaN."""
    next(policy.model.parameters()).register_hook(lambda g: g * float("nan"))


def test_a_gradient_that_is_not_finite_is_not_applied() -> None:
    policy = policy_of(tiny_llama())
    poison(policy)
    result, moved = step(policy, phase())
    assert not torch.isfinite(torch.tensor(result.grad_norm))
    assert not any(bool(v.any()) for v in moved.values())


def test_a_sliding_window_trains_on_the_plain_path() -> None:
    policy = policy_of(tiny_mistral())
    assert not policy.shared
    result, moved = step(policy, phase(), norm=1.0)
    assert result.grad_norm > 0
    assert any(bool(v.any()) for v in moved.values())


def with_dropout(value: float) -> Any:
    model = tiny_llama(attention_dropout=value).double()
    return policy_of(copy.deepcopy(model))


def test_the_loss_is_that_of_the_policy_that_sampled() -> None:
    """No dropout: it would make the loss's distribution another one than the sampler's."""
    for shared in (True, False):
        plain, dropped = with_dropout(0.0), with_dropout(0.5)
        plain.shared = dropped.shared = shared
        expected, _ = step(plain, phase())
        found, _ = step(dropped, phase())
        assert found.loss == pytest.approx(expected.loss, rel=1e-9)
