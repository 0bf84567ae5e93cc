"""LoRA adapters folded into the weights for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from cada.models.load import Policy


@contextmanager
def folded_adapters(policy: Policy) -> Iterator[None]:
    """Sample from base + adapters as one matrix a layer, so that adapters cost nothing a token.

    The base's weights are set aside and put back, not changed and changed back: nothing is rounded.
    Folded are adapters of linear layers in float32; half precision would round the adapters' small
    part away, and its log-probabilities would no longer be those that training sees.
    """
    layers = _foldable(policy)
    if not layers:
        yield
        return
    own = [layer.get_base_layer().weight.data for layer in layers]
    try:
        with policy.model.disable_adapter():
            for layer, weight in zip(layers, own, strict=True):
                with torch.no_grad():
                    layer.get_base_layer().weight.data = weight + layer.get_delta_weight("default")
            yield
    finally:
        for layer, weight in zip(layers, own, strict=True):
            layer.get_base_layer().weight.data = weight


def _foldable(policy: Policy) -> list[LoraLayer]:
    """Every adapted layer, if all can be folded; none otherwise."""
    if not isinstance(policy.model, PeftModel):
        return []
    layers = [m for m in policy.model.modules() if isinstance(m, LoraLayer)]
    bases = [layer.get_base_layer() for layer in layers]
    tied = policy.base.get_output_embeddings()
    fit = all(
        type(base) is nn.Linear and base.weight.dtype == torch.float32 and base is not tied
        for base in bases
    )
    return layers if fit else []
