"""Shared-prefix log-probabilities and gradients against one ordinary forward a sample."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from cada.config.phase import Phase
from cada.models.load import Policy, _try_shared
from cada.training import logprobs
from cada.training.logprobs import TokenStats, forest_of, plain_hidden, shared_hidden, token_stats
from cada.training.objective import Normaliser, policy_loss
from cada.training.samples import Sample
from tests.models.tiny import lora_policy, policy_of, tiny_llama
from tests.training.data import forest_samples, phase

# A pack of code and cases before the request; the template's preamble; a template without one.
CONTEXTS = {"cases": 24, "bare": 3, "no preamble": 0}
LENGTHS = {1: [6], 8: [1, 9, 4, 1, 12, 7, 2, 5]}


def exact_norm(self: Any, hidden: Tensor) -> Tensor:
    """Llama's RMSNorm without its detour through float32."""
    scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
    weight: Tensor = self.weight
    return weight * (hidden * scale)


def stats_of(path: Any, model: Any, samples: list[Sample], reference: Any = None) -> TokenStats:
    targets = torch.tensor([t for s in samples for t in s.rollout.completion_ids])
    against = None
    if reference is not None:
        with torch.no_grad():
            against = (reference.get_output_embeddings(), path(reference, samples))
    return token_stats(model.get_output_embeddings(), path(model, samples), targets, 0.8, against)


def outcome(
    path: Any, policy: Policy, samples: list[Sample], how: Phase, reference: Any
) -> dict[str, Tensor]:
    """Log-probabilities, the loss and every weight's gradient."""
    policy.model.zero_grad()
    stats = stats_of(path, policy.base, samples, reference)
    loss = policy_loss(samples, stats, how, Normaliser.of(samples))
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {
        n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None
    }
    return {"logprob": stats.logprob.detach(), "loss": loss.detach(), **gradients}


def worst_gap(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    """The largest relative distance of two outcomes, part by part."""
    assert one.keys() == two.keys()
    gaps = [float((one[n] - two[n]).norm() / two[n].norm()) for n in two]
    assert all(float(two[n].norm()) > 0 for n in two)
    return max(gaps)


def compare(policy: Policy, reference: Any, context: str, group: int) -> float:
    samples = forest_samples(
        LENGTHS[group], packs=2, requests=3, pack_tokens=CONTEXTS[context], seed=group
    )
    how = phase(
        loss_context="bare" if context == "bare" else "cases",
        ratio_clip=2.0,
        kl={"beta": 0.3, "estimator": "exact"},
    )
    assert policy.shared
    shared = outcome(shared_hidden, policy, samples, how, reference)
    plain = outcome(plain_hidden, policy, samples, how, reference)
    return worst_gap(shared, plain)


def a_reference(dtype: torch.dtype) -> Any:
    model = tiny_llama(seed=1).to(dtype)
    assert _try_shared(model)
    return model.requires_grad_(False)


@pytest.mark.parametrize("group", [1, 8])
@pytest.mark.parametrize("context", list(CONTEXTS))
def test_equal_in_float64_when_the_norms_are_too(
    context: str, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LlamaRMSNorm, "forward", exact_norm)
    policy = policy_of(tiny_llama().double())
    assert compare(policy, a_reference(torch.float64), context, group) < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("group", [1, 8])
@pytest.mark.parametrize("context", list(CONTEXTS))
def test_equal_on_the_stock_model(context: str, group: int, dtype: torch.dtype) -> None:
    policy = policy_of(tiny_llama().to(dtype))
    assert compare(policy, a_reference(dtype), context, group) < 1e-5


@pytest.mark.parametrize("context", list(CONTEXTS))
def test_equal_under_lora(context: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LlamaRMSNorm, "forward", exact_norm)
    policy = lora_policy(torch.float64)
    reference = a_reference(torch.float64)
    assert compare(policy, reference, context, 8) < 1e-9


def test_a_token_of_the_prompt_is_computed_once() -> None:
    samples = forest_samples(LENGTHS[8], packs=2, requests=3, pack_tokens=24)
    forest, positions = forest_of(samples)
    prompts = {s.prompt for s in samples}
    packs = {p.pack_ids for p in prompts}
    inner = sum(len(s.rollout.completion_ids) - 1 for s in samples)
    expected = sum(map(len, packs)) + sum(len(p.request_ids) for p in prompts) + inner
    assert sum(forest.lengths) == expected
    assert len(positions) == sum(len(s.rollout.completion_ids) for s in samples)


def test_statistics_are_those_of_the_plain_distribution() -> None:
    """Temperature, entropy, exact KL and the reference's log-probability, over two chunks."""
    torch.manual_seed(0)
    head, other = torch.nn.Linear(8, 20).double(), torch.nn.Linear(8, 20).double()
    hidden = torch.randn(700, 8, dtype=torch.float64)
    theirs = torch.randn(700, 8, dtype=torch.float64)
    targets = torch.randint(0, 20, (700,))
    stats = token_stats(head, hidden, targets, 0.7, (other, theirs))
    p = torch.distributions.Categorical(logits=head(hidden) / 0.7)
    q = torch.distributions.Categorical(logits=other(theirs) / 0.7)
    assert stats.kl is not None
    assert stats.reference_logprob is not None
    torch.testing.assert_close(stats.logprob, p.log_prob(targets))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(stats.reference_logprob, q.log_prob(targets))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(stats.entropy, p.entropy())  # type: ignore[no-untyped-call]
    torch.testing.assert_close(stats.kl, torch.distributions.kl_divergence(p, q))
    assert not stats.entropy.requires_grad


@pytest.mark.parametrize("kept", [0, 2 * 5 * 40 * 8 + 1, 10**9], ids=["none", "two", "all"])
@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("with_reference", [False, True], ids=["no reference", "with reference"])
def test_gradients_by_hand_are_autograds(
    with_reference: bool, trained: bool, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A linear head's, against the same head behind a function, which autograd takes."""
    monkeypatch.setattr(logprobs, "LOGIT_ROWS", 5)  # several chunks, the last one short
    monkeypatch.setattr(logprobs, "KEPT_BYTES", kept)
    draw = torch.Generator().manual_seed(0)
    weight, other, hidden, theirs = (
        torch.randn(*shape, generator=draw, dtype=torch.float64)
        for shape in ((40, 8), (40, 8), (12, 8), (12, 8))
    )
    targets = torch.randint(0, 40, (12,), generator=draw)
    pulls = torch.randn(2, 12, generator=draw, dtype=torch.float64)
    reference = ((lambda h: h @ other.T), theirs) if with_reference else None
    found = []
    for by_hand in (False, True):
        head = torch.nn.Linear(8, 40, bias=False, dtype=torch.float64)
        head.weight = torch.nn.Parameter(weight.clone(), requires_grad=trained)
        leaf = hidden.clone().requires_grad_()
        stats = token_stats(head if by_hand else head.forward, leaf, targets, 0.7, reference)
        loss = (pulls[0] * stats.logprob).sum()
        if stats.kl is not None:
            loss = loss + (pulls[1] * stats.kl).sum()
        loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        loss.backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        assert not stats.entropy.requires_grad
        columns = [stats.logprob, stats.entropy, stats.reference_logprob, stats.kl]
        gradients = [leaf.grad, head.weight.grad]
        assert (head.weight.grad is not None) == trained
        found.append([c.detach() for c in [*columns, *gradients] if c is not None])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_a_kl_estimate_of_the_log_probabilities_asks_nothing_of_the_exact_one() -> None:
    """Where the loss leaves the exact KL out, the gradient is that without a reference."""
    draw = torch.Generator().manual_seed(1)
    found = []
    for reference in (None, ((lambda h: h), torch.randn(6, 40, generator=draw))):
        head = torch.nn.Linear(8, 40, bias=False)
        torch.nn.init.constant_(head.weight, 0.1)
        leaf = torch.arange(48.0).reshape(6, 8).div(50).requires_grad_()
        stats = token_stats(head, leaf, torch.arange(6), 0.7, reference)
        stats.logprob.sum().backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        assert head.weight.grad is not None
        found.append((leaf.grad, head.weight.grad))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
def test_mixed_precision_multiplies_in_bfloat16(trained: bool) -> None:
    """Under autocast the gradients are near those of float32, and come in the weights' type."""
    draw = torch.Generator().manual_seed(2)
    weight, hidden = torch.randn(40, 8, generator=draw), torch.randn(12, 8, generator=draw)
    theirs = torch.randn(12, 8, generator=draw)
    other = torch.nn.Linear(8, 40, bias=False)
    found: list[list[Tensor]] = []
    for cast in (False, True):
        head = torch.nn.Linear(8, 40, bias=False)
        head.weight = torch.nn.Parameter(weight.clone(), requires_grad=trained)
        leaf = hidden.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            stats = token_stats(head, leaf, torch.arange(12), 0.7, (other, theirs))
        assert stats.kl is not None
        (stats.logprob + stats.kl).sum().backward()  # type: ignore[no-untyped-call]
        grads = [g for g in (leaf.grad, head.weight.grad) if g is not None]
        found.append([stats.logprob.detach(), *grads])
        # Of the rounded logits, sums over the vocabulary are as exact as without.
        if cast:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                logits, others = head(leaf).float() / 0.7, other(theirs).float() / 0.7
            p, q = (torch.distributions.Categorical(logits=x) for x in (logits, others))
            torch.testing.assert_close(stats.entropy, p.entropy())  # type: ignore[no-untyped-call]
            torch.testing.assert_close(stats.kl.detach(), torch.distributions.kl_divergence(p, q))
    for one, two in zip(*found, strict=True):
        assert one.dtype == two.dtype == torch.float32
        assert not torch.equal(one, two)
        assert float((one - two).norm() / one.norm()) < 0.02
