"""A model's sizes from its config alone: it is built without memory for its weights."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from cada.config.recipe import Lora
from cada.errors import CadaError
from cada.models.adapters import add_adapters, trained_weights


@dataclass(frozen=True)
class ModelShape:
    """Sizes in elements and bytes.

    `multiplied` parameters take part in a matrix product for every token (all but embeddings and
    the head); `trained_bytes` are those of the weights that one phase trains; `adapter_bytes` those
    of every phase's adapters; `adapted_bytes` those of the weights that adapters change.
    `wide` says that arithmetic is float32, bfloat16 otherwise; `shared` that prefixes can be.
    """

    layers: int
    hidden: int
    inner: int
    queries: int
    keys: int
    vocabulary: int
    parameters: int
    multiplied: int
    weight_bytes: int
    trained: int
    trained_bytes: int
    adapter_bytes: int
    adapted_bytes: int
    rank: int
    wide: bool
    shared: bool

    @property
    def full(self) -> bool:
        """Whether every weight is trained."""
        return not self.rank


def shape_of(config: Any, *, lora: Lora | None, phases: int, wide: bool) -> ModelShape:
    """The sizes of the model with this config, trained in that way.

    Args:
        config: a transformers config.
        lora: the adapters; None trains every weight, which is then kept in float32.
        phases: of the training, for adapters of their own.
        wide: arithmetic in float32; bfloat16 otherwise.

    Raises:
        CadaError: the config is not one of a causal decoder, or adapters do not fit it.
    """
    dtype = torch.float32 if wide or lora is None else torch.bfloat16
    try:
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
            text = config.get_text_config()
            heads = text.num_attention_heads
            size = getattr(text, "head_dim", None) or text.hidden_size // heads
            base = {p: p.numel() * p.element_size() for p in model.parameters()}
            tables = {id(m.weight): m.weight.numel() for m in _tables(model)}
            adapted = model if lora is None else add_adapters(model, lora, phases, seed=0)
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise CadaError(
            f"its memory cannot be foreseen ({str(error).splitlines()[0][:200]})",
            where=str(getattr(config, "name_or_path", "") or type(config).__name__),
            mend="Give a causal decoder's config, and lora.target_modules that it has",
        ) from error
    trained = list(trained_weights(adapted).values())
    bytes_ = sum(w.numel() * w.element_size() for w in trained)
    own = phases if lora is not None and lora.per_phase else 1
    parameters = sum(w.numel() for w in base)
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    return ModelShape(
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        inner=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        queries=heads * size,
        keys=(getattr(text, "num_key_value_heads", None) or heads) * size,
        vocabulary=text.vocab_size,
        parameters=parameters,
        multiplied=parameters - sum(tables.values()),
        weight_bytes=sum(base.values()),
        trained=sum(w.numel() for w in trained) // own,
        trained_bytes=bytes_ // own,
        adapter_bytes=0 if lora is None else bytes_,
        adapted_bytes=0 if lora is None else _adapted_bytes(adapted),
        rank=0 if lora is None else lora.rank,
        wide=wide,
        shared=kinds == {"full_attention"} and not getattr(text, "sliding_window", None),
    )


def _tables(model: Any) -> list[Any]:
    """The embedding and the head, which may share one weight."""
    return [m for m in (model.get_input_embeddings(), model.get_output_embeddings()) if m]


def _adapted_bytes(model: Any) -> int:
    layers = [m.base_layer.weight for m in model.modules() if hasattr(m, "lora_A")]
    return sum(w.numel() * w.element_size() for w in layers)
