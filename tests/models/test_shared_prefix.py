"""The forest's layout, and which models may share prefixes."""

from typing import Any

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from cada.models.load import _try_shared
from cada.models.shared_prefix import Forest, Segment, check_support
from tests.models.tiny import _SHAPE, tiny_llama, tiny_mistral

FOREST = [
    Segment((3, 4, 5, 6), None),
    Segment((7, 8), 0),
    Segment((9,), 1),
    Segment((10, 11, 12), 1),
    Segment((13, 14, 15), 0),
    Segment((16, 17), None),
    Segment((18,), 5),
]


def branch(index: int | None) -> tuple[int, ...]:
    """A segment's tokens after all its ancestors'."""
    if index is None:
        return ()
    return branch(FOREST[index].parent) + FOREST[index].ids


@pytest.mark.parametrize("flex", [False, True])
def test_every_segment_sees_its_own_branch_alone(flex: bool) -> None:
    model = tiny_llama()
    assert _try_shared(model)
    forest = Forest(FOREST, flex=flex)
    with torch.no_grad():
        packed = model(**forest.inputs(torch.device("cpu"))).logits[0]
        for index, segment in enumerate(FOREST):
            alone = model(input_ids=torch.tensor([branch(index)])).logits[0]
            own = packed[forest.span(index)]
            torch.testing.assert_close(own, alone[-len(segment.ids) :], atol=1e-5, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="FlexAttention has none on a CPU")
def test_both_ways_give_the_same_gradients() -> None:
    model = tiny_llama().cuda()
    assert _try_shared(model)
    found = []
    for flex in (False, True):
        model.zero_grad()
        out = model(**Forest(FOREST, flex=flex).inputs(torch.device("cuda"))).logits
        out.log_softmax(-1)[..., 3].sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(found[0]) > 10
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_a_parent_comes_first_and_no_segment_is_empty() -> None:
    for bad in ([Segment((1,), 0)], [Segment((1,), None), Segment((), 0)], [Segment((1,), 1)]):
        with pytest.raises(ValueError, match="segment"):
            Forest(bad)


def test_a_kept_forest_runs_once() -> None:
    model = tiny_llama()
    assert _try_shared(model)
    forest = Forest(FOREST, keep=True)
    inputs = forest.inputs(torch.device("cpu"))
    with torch.no_grad():
        model(**inputs)
        with pytest.raises(RuntimeError, match="once"):
            model(**inputs)


def test_a_position_beyond_the_branch_is_not_counted() -> None:
    inputs = Forest(FOREST).inputs(torch.device("cpu"))
    expected = [0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 4, 5, 6, 0, 1, 2]
    assert inputs["position_ids"].tolist() == [expected]


def gpt2() -> Any:
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    ).eval()


def qwen2() -> Any:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=64, **_SHAPE)).eval()


def qwen3() -> Any:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=64, head_dim=16, **_SHAPE)).eval()


@pytest.mark.parametrize("make", [tiny_llama, qwen2, qwen3])
def test_full_attention_is_shared(make: Any) -> None:
    model = make()
    assert _try_shared(model)
    assert check_support(model, 64)


def test_a_sliding_window_is_not() -> None:
    model = tiny_mistral(window=4)
    before = model.config._attn_implementation
    assert not _try_shared(model)
    assert model.config._attn_implementation == before
    assert isinstance(model, MistralForCausalLM)


def test_nor_a_window_longer_than_the_probe() -> None:
    assert not _try_shared(tiny_mistral(window=512))


def test_the_check_leaves_the_models_mode_as_it_was() -> None:
    model = tiny_llama()
    for training in (True, False):
        model.train(training)
        check_support(model, 64)
        assert model.training is training


def test_a_model_of_another_family_answers_as_before() -> None:
    """Whatever the check decides for it, its plain forward stays the same."""
    model = gpt2()
    ids = torch.arange(3, 13)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        _try_shared(model)
        torch.testing.assert_close(model(input_ids=ids).logits, before)
