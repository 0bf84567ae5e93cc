"""Activation checkpointing: the same gradients from less memory."""

from typing import Any

import pytest
import torch

from cada.errors import CadaError
from cada.models.load import Policy
from cada.training.recompute import recomputed
from cada.training.update import completion_stats
from tests.models.tiny import lora_policy, policy_of, tiny_llama, tiny_mistral
from tests.training.data import forest_samples

SAMPLES = forest_samples([4, 1, 9], packs=2, requests=3, pack_tokens=30)


def gradients(policy: Policy, again: bool) -> tuple[dict[str, torch.Tensor], int]:
    """Every weight's gradient, and the bytes that were kept for them."""
    kept: dict[int, int] = {}
    alive: list[torch.Tensor] = []
    weights = {p.untyped_storage().data_ptr() for p in policy.model.parameters()}

    def keep(t: torch.Tensor) -> torch.Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(t)
        return t

    with recomputed(policy.base, again):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            loss = -completion_stats(policy, SAMPLES, 0.8).logprob.mean()
        held = sum(kept.values())
        loss.backward()  # type: ignore[no-untyped-call]
    found = {n: p.grad for n, p in policy.model.named_parameters() if p.grad is not None}
    return found, held


def make(kind: str) -> Policy:
    if kind == "lora":
        return lora_policy(torch.float64)
    model = tiny_mistral() if kind == "unshared" else tiny_llama(num_hidden_layers=6)
    return policy_of(model.double())


@pytest.mark.parametrize("kind", ["full", "lora", "unshared"])
def test_gradients_are_the_plain_paths(kind: str) -> None:
    plain, _ = gradients(make(kind), False)
    again, _ = gradients(make(kind), True)
    assert plain.keys() == again.keys()
    for name, value in plain.items():
        assert value.abs().max() > 0 or "lora" in name
        torch.testing.assert_close(again[name], value, rtol=1e-10, atol=1e-14)


def test_less_is_kept() -> None:
    _, plain = gradients(make("full"), False)
    _, again = gradients(make("full"), True)
    assert again < plain / 3


def test_the_model_is_left_as_it_was() -> None:
    policy = make("full")
    before = {n: dict(vars(m)) for n, m in policy.model.named_modules()}
    layer = policy.model.model.layers[0]
    with recomputed(policy.model):
        assert layer.training
        assert not layer.self_attn.training
    after: dict[str, Any] = {n: dict(vars(m)) for n, m in policy.model.named_modules()}
    assert {n: v.keys() for n, v in after.items()} == {n: v.keys() for n, v in before.items()}
    assert not any(m.training for m in policy.model.modules())


def test_a_model_whose_layers_are_not_known_is_named() -> None:
    with pytest.raises(CadaError, match="activation_checkpointing"), recomputed(torch.nn.ReLU()):
        pass
