"""Activation checkpointing: a layer's activations are computed again for its gradient.

Between the forward and the backward pass only each layer's input is kept (Chen et al. 2016,
"Training Deep Nets with Sublinear Memory Cost"). It must not meet a cache of keys and values, which
transformers would drop in silence: the trainer's passes have none, and sampling stays outside.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from cada.errors import CadaError

# No random number is drawn in a layer: the model is in evaluation mode.
_again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


@contextmanager
def recomputed(model: Any, wanted: bool = True) -> Iterator[None]:
    """For a while, the model's layers keep their inputs alone.

    Only the layers themselves are put in training mode, which transformers asks for; the modules in
    them, and so dropout, are left as they are.

    Raises:
        CadaError: the model's layers cannot be computed apart.
    """
    if not wanted:
        yield
        return
    layers: list[Any] = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise CadaError(
            "this model's layers cannot be computed again one by one",
            where="training.activation_checkpointing",
            mend="Set it to false, and lower training.tokens_per_microbatch if memory is short",
        )
    before = [{n: v for n, v in vars(m).items() if n in ("training", *_OWN)} for m in layers]
    try:
        for layer in layers:
            layer.training = True
            layer.gradient_checkpointing = True
            layer._gradient_checkpointing_func = _again
        yield
    finally:
        for layer, had in zip(layers, before, strict=True):
            for name in _OWN:
                vars(layer).pop(name, None)
            vars(layer).update(had)


_OWN = ("gradient_checkpointing", "_gradient_checkpointing_func")
