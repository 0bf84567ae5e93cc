"""Adapters folded into the weights, and out of them again."""

import pytest
import torch
from torch import Tensor

from cada.models.adapters import folded_adapters
from cada.models.load import Policy
from tests.models.tiny import lora_policy, policy_of, tiny_llama

IDS = torch.tensor([[3, 17, 40, 5, 9]])


def logits(policy: Policy) -> Tensor:
    with torch.no_grad():
        found: Tensor = policy.model(input_ids=IDS).logits
    return found


def state(policy: Policy) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in policy.model.state_dict().items()}


def test_folded_adapters_give_the_same_logits_and_take_no_part() -> None:
    policy = lora_policy()
    with folded_adapters(policy):
        folded = logits(policy)
        with policy.model.disable_adapter():
            assert torch.equal(logits(policy), folded)
    torch.testing.assert_close(folded, logits(policy), rtol=0, atol=1e-5)
    with policy.model.disable_adapter():
        assert (logits(policy) - folded).abs().max() > 0.1


def test_every_weight_is_as_before_to_the_bit_and_adapters_learn() -> None:
    policy = lora_policy()
    before, trainable = state(policy), [p.requires_grad for p in policy.model.parameters()]
    with pytest.raises(KeyboardInterrupt), folded_adapters(policy):
        raise KeyboardInterrupt
    after = state(policy)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [p.requires_grad for p in policy.model.parameters()] == trainable
    policy.model(input_ids=IDS).logits.sum().backward()
    assert all(p.grad is not None for p in policy.model.parameters() if p.requires_grad)


@pytest.mark.parametrize("policy", [policy_of(tiny_llama()), lora_policy(torch.bfloat16)])
def test_models_without_adapters_or_in_half_precision_are_left_alone(policy: Policy) -> None:
    before = {name: weight.data_ptr() for name, weight in policy.model.state_dict().items()}
    with folded_adapters(policy):
        within = {name: weight.data_ptr() for name, weight in policy.model.state_dict().items()}
    assert within == before
