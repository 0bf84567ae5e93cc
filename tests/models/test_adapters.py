"""One pair of adapters, or one a phase: what is trained, what stays, what they add up to."""

from typing import Any

import pytest
import torch
from torch import Tensor

from cada.config.recipe import Lora
from cada.models.adapters import (
    adapters_off,
    add_adapters,
    merged,
    merged_state,
    train_phase,
    trained_weights,
)
from tests.models.tiny import tiny_llama

IDS = torch.tensor([[1, 50, 19, 28, 5, 7]])


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(input_ids=IDS).logits
    return out


def adapted(phases: int = 3, seed: int = 0, **options: Any) -> Any:
    return add_adapters(
        tiny_llama(), Lora(rank=2, alpha=4, per_phase=True, **options), phases, seed
    )


def take_a_step(model: Any) -> set[str]:
    """Step uphill; the names of the weights that moved."""
    weights = trained_weights(model)
    before = {n: w.detach().clone() for n, w in weights.items()}
    optimiser = torch.optim.SGD(weights.values(), lr=0.5)
    for _ in range(2):  # A has no gradient before B has moved
        model(input_ids=IDS).logits.square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    return {n for n, w in weights.items() if not torch.equal(w, before[n])}


def test_every_phase_trains_its_own_adapters_alone() -> None:
    model = adapted()
    base = logits(model)
    moved, after = [], [base]
    for phase in range(3):
        train_phase(model, phase)
        torch.testing.assert_close(logits(model), after[-1])  # fresh adapters change nothing
        moved.append(take_a_step(model))
        after.append(logits(model))
        assert (after[-1] - after[-2]).abs().max() > 1e-3
    assert set.union(*moved) == set(trained_weights(model))
    assert sum(map(len, moved)) == len(set.union(*moved))


def test_one_pair_serves_all_phases_unless_asked() -> None:
    model = add_adapters(tiny_llama(), Lora(rank=2, alpha=4), phases=3, seed=0)
    first = take_a_step(model)
    train_phase(model, 2)
    assert first == take_a_step(model) == set(trained_weights(model))


def test_merged_weights_are_the_base_and_all_adapters() -> None:
    model = adapted()
    for phase in range(2):
        train_phase(model, phase)
        take_a_step(model)
    plain = tiny_llama()
    plain.load_state_dict(merged_state(model))
    torch.testing.assert_close(logits(plain), logits(model), rtol=1e-4, atol=1e-4)


def test_adapters_off_is_the_base_and_leaves_all_as_it_was() -> None:
    model = adapted()
    train_phase(model, 0)
    take_a_step(model)
    train_phase(model, 1)
    before, trained = logits(model), [n for n, w in model.named_parameters() if w.requires_grad]
    with adapters_off(model):
        torch.testing.assert_close(logits(model), logits(tiny_llama()))
    assert torch.equal(logits(model), before)
    assert [n for n, w in model.named_parameters() if w.requires_grad] == trained


def test_the_first_phases_adapters_do_not_depend_on_the_later_ones() -> None:
    one, three = trained_weights(adapted(phases=1)), trained_weights(adapted(phases=3))
    assert len(three) == 3 * len(one)
    assert all(torch.equal(weight, three[name]) for name, weight in one.items())


@pytest.mark.parametrize("seed", [1, 2])
def test_every_pairs_first_weights_depend_on_the_seed(seed: int) -> None:
    def first(seed: int) -> list[Tensor]:
        weights = trained_weights(adapted(seed=seed))
        return [weight for name, weight in weights.items() if "lora_A" in name]

    here = first(seed)
    assert all(torch.equal(a, b) for a, b in zip(here, first(seed), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(here, first(0), strict=True))


def test_merging_for_a_while_changes_neither_the_function_nor_the_weights() -> None:
    model = adapted()
    for phase in range(2):
        train_phase(model, phase)
        take_a_step(model)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    own = logits(model)
    with merged(model):
        torch.testing.assert_close(logits(model), own)
        with adapters_off(model):  # they are inside the weights now
            torch.testing.assert_close(logits(model), own)
    assert torch.equal(logits(model), own)
    assert {n for n, w in model.named_parameters() if w.requires_grad} == trained
    assert all(torch.equal(weight, before[n]) for n, weight in model.state_dict().items())


def test_merging_ends_when_the_block_fails() -> None:
    model = adapted()
    train_phase(model, 0)
    take_a_step(model)
    own = logits(model)
    with pytest.raises(ValueError, match="stop"), merged(model):
        raise ValueError("stop")
    assert torch.equal(logits(model), own)


def test_bfloat16_weights_are_not_merged() -> None:
    model = adapted()
    train_phase(model, 0)
    take_a_step(model)
    model = model.to(torch.bfloat16)
    own = logits(model)
    with merged(model):
        assert torch.equal(logits(model), own)
        with adapters_off(model):
            assert not torch.equal(logits(model), own)
