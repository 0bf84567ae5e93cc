"""TRL's SFTTrainer and DPOTrainer on given token ids. Checked with TRL 1.16.

The trainers get ids and not texts, so that a prompt is the very prompt of an evaluation; no text is
rendered or tokenised by TRL. What they change of the model besides its weights is put back.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from cada.config.baseline import Baseline
from cada.config.recipe import Training
from cada.errors import CadaError
from cada.models.disk import disk_errors
from cada.models.load import Policy
from cada.training.baseline_data import Example, Pair

_REFERENCE = "ref"  # the adapter that TRL adds as DPO's reference
_IGNORED = -100


class _OnIds(DPOTrainer):  # type: ignore[misc]
    """Takes pairs that are token ids already."""

    def _prepare_dataset(self, dataset: Dataset, *rest: Any, **named: Any) -> Dataset:
        return dataset


class _Teller(TrainerCallback):  # type: ignore[misc]
    """Hands every update's figures on, and ends a training whose loss is no number."""

    def __init__(self, told: Callable[[int, dict[str, Any]], None]) -> None:
        self.told = told
        self.at = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        """One line an update; TRL's summary at the end is left out."""
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise CadaError(
                f"the loss of update {state.global_step} is no finite number",
                where="baseline.learning_rate",
                mend="Lower it",
            )
        now = time.perf_counter()
        line = {
            "loss": loss,
            "grad_norm": _number(logs.get("grad_norm")),
            "entropy": _number(logs.get("entropy")),
            "learning_rate": _number(logs.get("learning_rate")),
            "updates": 1,
            "skipped": 0,
            "seconds_update": round(now - self.at, 3),
        }
        if "rewards/margins" in logs:
            line["margin"] = _number(logs["rewards/margins"])
        self.at = now
        self.told(int(state.global_step), line)


def fit(
    baseline: Baseline,
    options: Training,
    policy: Policy,
    data: Sequence[Example | Pair],
    folder: Path,
    *,
    seed: int,
    half: bool,
    told: Callable[[int, dict[str, Any]], None],
) -> None:
    """Train the policy in place, going on from TRL's newest checkpoint in `folder`.

    Args:
        baseline: the training's figures.
        options: optimiser and memory.
        policy: loses nothing but its old weights.
        data: examples for SFT, pairs for DPO.
        folder: of TRL's checkpoints.
        seed: of the order of the data.
        half: compute in bfloat16 beside float32 weights.
        told: gets an update's number (from 1) and its figures.
    """
    base, tokenizer = policy.base, policy.tokenizer
    kept = {
        "generation_config": copy.deepcopy(base.generation_config),
        "config": copy.deepcopy(base.config.__dict__),
    }
    padding = tokenizer.padding_side
    try:
        with torch.random.fork_rng(), disk_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TRL's, of transformers' new names
            trainer = _make(baseline, options, policy, data, folder, seed, half)
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(_Teller(told))
            trainer.train(resume_from_checkpoint=_newest(folder))
    except OSError as error:
        raise CadaError(
            f"a checkpoint could not be written or read ({error})",
            where=str(folder),
            mend="Free some space, or remove the checkpoint",
        ) from error
    finally:
        base.__dict__.pop("forward", None)  # TRL's, with the head fused into the loss
        base.generation_config = kept["generation_config"]
        base.config.__dict__.update(kept["config"])
        if options.activation_checkpointing:
            base.gradient_checkpointing_disable()
        if isinstance(policy.model, PeftModel) and _REFERENCE in policy.model.peft_config:
            policy.model.delete_adapter(_REFERENCE)
        tokenizer.padding_side = padding
        policy.model.zero_grad(set_to_none=True)
        policy.model.eval()


def columns(data: Sequence[Example | Pair]) -> list[dict[str, list[int]]]:
    """The rows that TRL is given; only a completion's tokens have labels."""
    rows: list[dict[str, list[int]]] = []
    for item in data:
        if isinstance(item, Example):
            ids = [*item.prompt, *item.completion]
            labels = [*[_IGNORED] * len(item.prompt), *item.completion]
            rows.append({"input_ids": ids, "labels": labels})
        else:
            rows.append(
                {
                    "prompt_ids": list(item.prompt),
                    "chosen_ids": list(item.chosen),
                    "rejected_ids": list(item.rejected),
                }
            )
    return rows


def rows_at_once(batch: int, longest: int, tokens: int) -> int:
    """The most sequences of a pass that divide the batch and stay within `tokens` tokens."""
    fitting = [n for n in range(1, batch + 1) if batch % n == 0 and n * longest <= tokens]
    return max(fitting, default=1)


def _make(
    baseline: Baseline,
    options: Training,
    policy: Policy,
    data: Sequence[Example | Pair],
    folder: Path,
    seed: int,
    half: bool,
) -> Any:
    """TRL's trainer around the policy's own model."""
    rows = columns(data)
    # A pair is two sequences of a pass.
    longest = max(sum(len(ids) for ids in row.values()) if "chosen_ids" in row
                  else len(row["input_ids"]) for row in rows)  # fmt: skip
    at_once = rows_at_once(baseline.batch, longest, options.tokens_per_microbatch)
    updates = baseline.epochs * math.ceil(len(rows) / baseline.batch)
    schedules = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
    common: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": baseline.batch // at_once,
        "num_train_epochs": baseline.epochs,
        "learning_rate": baseline.learning_rate,
        "lr_scheduler_type": schedules[baseline.schedule],
        "warmup_steps": math.ceil(baseline.warmup * updates),
        "weight_decay": options.weight_decay,
        "max_grad_norm": options.max_grad_norm,
        "gradient_checkpointing": options.activation_checkpointing,
        "bf16": half,
        "use_cpu": policy.device.type == "cpu",
        "max_length": None,
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": options.checkpoint_every,
        "save_total_limit": options.keep_checkpoints,
        "report_to": "none",
        "disable_tqdm": True,
    }
    given: dict[str, Any] = {
        "model": policy.model,
        "train_dataset": Dataset.from_list(rows),
        "processing_class": policy.tokenizer,
    }
    if baseline.kind == "sft":
        return SFTTrainer(args=SFTConfig(**common), **given)
    adapted = isinstance(policy.model, PeftModel)
    reference = None if adapted else copy.deepcopy(policy.model)
    return _OnIds(args=DPOConfig(beta=baseline.beta, **common), ref_model=reference, **given)


def _newest(folder: Path) -> str | None:
    """TRL's newest checkpoint that was written to its end, or None."""
    there = sorted(
        (p for p in folder.glob("checkpoint-*") if (p / "trainer_state.json").is_file()),
        key=lambda p: int(p.name.removeprefix("checkpoint-")),
    )
    return str(there[-1]) if there else None


def _number(value: Any) -> float | None:
    if value is None:
        return None
    found = float(value)
    return found if math.isfinite(found) else None
