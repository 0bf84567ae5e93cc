"""Tokens foreseen against those that the engine and the trainer compute."""

from typing import Any

import pytest
import torch

from cada.config.recipe import Lora
from cada.models.shared_prefix import DecodeBatch, Forest
from cada.planning.memory import keys_and_values
from cada.planning.shape import ModelShape, shape_of
from cada.planning.tokens import decode_batches, made_up, passes
from cada.rollout.transformers_engine import SharedEngine
from cada.rollout.types import Prompt, Sampling
from cada.training.logprobs import forest_of
from cada.training.samples import microbatches
from tests.models.tiny import policy_of, tiny_llama
from tests.training.data import forest_samples

CONTEXTS = {"cases": 24, "bare": 3, "no preamble": 0}


def shape(model: Any, lora: Lora | None = None) -> ModelShape:
    return shape_of(model.config, lora=lora, phases=2, wide=True)


@pytest.mark.parametrize("pack_tokens", CONTEXTS.values(), ids=CONTEXTS)
@pytest.mark.parametrize("budget", [64, 100, 100_000])
def test_passes_are_the_trainers_micro_batches(pack_tokens: int, budget: int) -> None:
    samples = forest_samples([1, 9, 4, 1], packs=2, requests=3, pack_tokens=pack_tokens)
    found = passes(samples, budget)
    batches = microbatches(samples, budget)
    assert len(found) == len(batches)
    for one, batch in zip(found, batches, strict=True):
        forest, positions = forest_of(batch)
        assert one.tokens == sum(forest.lengths)
        assert one.outputs == len(positions)
        chained = [i for i, chain in enumerate(forest.chains) if chain]
        assert one.joined == sum(forest.depths[i] + forest.lengths[i] for i in chained)
        sees = [
            depth + at + 1
            for depth, n in zip(forest.depths, forest.lengths, strict=True)
            for at in range(n)
        ]
        assert one.pairs == sum(sees)
        assert one.unshared == sum(len(s.prompt.ids) + len(s.rollout.completion_ids) for s in batch)


def test_a_made_up_sample_counts_like_a_real_one_of_its_length() -> None:
    real = forest_samples([5, 5], packs=2, requests=2, pack_tokens=7)
    counted = [made_up(s.prompt, s.group, 5) for s in real]
    assert passes(counted, 40) == passes(real, 40)


@pytest.mark.parametrize("pack_tokens", CONTEXTS.values(), ids=CONTEXTS)
def test_batches_are_the_engines(pack_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = forest_samples([1], packs=2, requests=3, pack_tokens=pack_tokens)
    prompts: list[Prompt] = [s.prompt for s in drawn]
    policy = policy_of(tiny_llama(), stop_ids=())
    read: list[int] = []
    held: list[int] = []
    whole, start = policy.model.forward, DecodeBatch.__init__

    def forward(*args: Any, **options: Any) -> Any:
        read.append(options["input_ids"].numel())
        return whole(*args, **options)

    def init(self: DecodeBatch, forest: Forest, *args: Any) -> None:
        start(self, forest, *args)
        kept = sum(x.untyped_storage().nbytes() for pair in forest.kept for x in pair)
        held.append(kept + sum(x.nbytes for pair in self.own for x in pair))

    monkeypatch.setattr(policy.model, "forward", forward)
    monkeypatch.setattr(DecodeBatch, "__init__", init)
    rollouts = SharedEngine(policy, rows_per_batch=4).generate(prompts, 2, Sampling(5), seed=0)

    batches = decode_batches(prompts, 2, 5, 4)
    assert [len(r.completion_ids) for group in rollouts for r in group] == [5] * 12
    assert sum(b.prefilled + b.decoded for b in batches) == sum(read)
    assert [b.prefilled for b in batches] == read[::5]
    assert [keys_and_values(shape(policy.model), b) for b in batches] == held


def test_without_sharing_every_row_counts_whole() -> None:
    samples = forest_samples([4, 4], packs=1, requests=2, pack_tokens=10)
    one = passes(samples, 10_000, shared=False)[0]
    whole = [len(s.prompt.ids) + 4 for s in samples]
    assert (one.tokens, one.unshared) == (sum(whole), sum(whole))
    prompts = [s.prompt for s in samples]
    batch = decode_batches(prompts, 1, 4, 100, shared=False)[0]
    assert batch.prefilled == 4 * max(len(p.ids) for p in prompts)


@pytest.mark.parametrize("lora", [None, Lora(rank=4), Lora(rank=4, per_phase=True)])
def test_a_shape_is_the_real_models(lora: Lora | None) -> None:
    from cada.models.adapters import add_adapters, train_phase, trained_weights

    model = tiny_llama(tie_word_embeddings=False)
    found = shape(model, lora)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.weight_bytes == 4 * found.parameters
    assert found.multiplied == found.parameters - 2 * 64 * 32
    if lora is not None:
        model = add_adapters(model, lora, phases=2, seed=0)
        train_phase(model, 1)
        assert found.adapter_bytes == 4 * sum(w.numel() for w in trained_weights(model).values())
    assert found.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert found.trained_bytes == 4 * found.trained


def test_nothing_is_allocated_for_a_shape() -> None:
    config = tiny_llama().config
    config.hidden_size, config.num_hidden_layers, config.intermediate_size = 8192, 80, 28672
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 64, 8, 128
    found = shape_of(config, lora=Lora(rank=8), phases=1, wide=False)
    assert found.weight_bytes > 130e9
    assert torch.get_default_device().type == "cpu"
