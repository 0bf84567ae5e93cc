"""LoRA adapters (Hu et al. 2022): one pair for the whole training, or one for every phase."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from cada.config.recipe import Lora

_FIRST = "default"  # PEFT's own name, so that adapters saved apart load like any other


def add_adapters(model: nn.Module, lora: Lora, phases: int, seed: int) -> PeftModel:
    """Wrap a model with fresh adapters; the first phase's are active.

    Args:
        model: the causal model; its weights are frozen.
        lora: rank, scale and modules, and whether every phase has adapters of its own.
        phases: how many phases the training has.
        seed: of the adapters' first weights; the process's own generator is left as it is.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, _config(lora))
        for name in _names(phases if lora.per_phase else 1)[1:]:
            wrapped.add_adapter(name, _config(lora))
    return wrapped


def train_phase(model: nn.Module, phase: int) -> None:
    """Let a phase (counted from 0) train its own adapters, on top of the earlier phases'.

    Nothing changes where all phases train the same weights.
    """
    if not isinstance(model, PeftModel) or len(model.peft_config) == 1:
        return
    active = _names(phase + 1)
    model.base_model.set_adapter(active)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            for name in active[:-1]:
                module.lora_A[name].requires_grad_(False)
                module.lora_B[name].requires_grad_(False)


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every weight that some phase trains, by name; tied ones once."""
    adapted = isinstance(model, PeftModel)
    return {
        name: weight
        for name, weight in model.named_parameters()
        if ("lora_" in name if adapted else weight.requires_grad)
    }


@contextmanager
def adapters_off(model: PeftModel) -> Iterator[None]:
    """The model without its adapters, for a while.

    PEFT would unfreeze every active adapter afterwards; here all are as they were.
    """
    frozen = [w for w in model.parameters() if not w.requires_grad]
    with model.disable_adapter():
        yield
    for weight in frozen:
        weight.requires_grad_(False)


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """The model with its active adapters inside its weights, for a while: sampling is faster.

    For float32 weights alone, where adding the adapters first or last is the same to 1e-6; others
    are left as they are. Afterwards the very weights from before stand there again.
    """
    layers = [m for m in model.modules() if isinstance(m, LoraLayer) and not m.merged]
    wide = all(m.get_base_layer().weight.dtype == torch.float32 for m in layers)
    if not isinstance(model, PeftModel) or not layers or not wide:
        yield
        return
    before = []
    with adapters_off(model):
        try:
            for layer in layers:
                weight = layer.get_base_layer().weight
                before.append((weight, weight.data))
                with torch.no_grad():
                    deltas: list[Any] = [layer.get_delta_weight(a) for a in layer.active_adapters]
                    weight.data = sum(deltas, start=weight.data)
            yield
        finally:
            for weight, data in before:
                weight.data = data


@torch.no_grad()
def merged_state(model: PeftModel) -> dict[str, Tensor]:
    """The plain model's weights with all adapters added.

    PEFT's own merging and unmerging would round the base's weights.
    """
    state = {
        _plain(name): value for name, value in model.state_dict().items() if "lora_" not in name
    }
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            own = f"{_plain(name)}.weight"
            kind = state[own].dtype
            deltas: list[Any] = [module.get_delta_weight(adapter) for adapter in module.lora_A]
            state[own] = sum(deltas, start=state[own].to(deltas[0].dtype)).to(kind)
    return state


def _names(count: int) -> list[str]:
    return [_FIRST, *(f"phase{number}" for number in range(2, count + 1))]


def _plain(name: str) -> str:
    """A weight's name without PEFT's wrappers."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "")


def _config(lora: Lora) -> LoraConfig:
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )
