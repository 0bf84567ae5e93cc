"""An export for TRL: JSON lines, reward functions, and a training script for its RLOOTrainer.

Checked with TRL 1.16. Its RLOO loss sums over a completion's tokens, takes the KL from the reward,
and leaves out completions whose reward is None.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from pprint import pformat
from typing import Any

from cada.export.plan import Plan
from cada.export.rows import Row
from cada.export.scoring import Facts, Scorer

_REWARD = '''"""The reward of the exported recipe, for TRL's RLOOTrainer and GRPOTrainer.

Judge and reward are cada's own. An answer that the judge cannot score has no reward (None): it
takes part in no baseline and gives no gradient.
"""

from pathlib import Path

from cada.export.scoring import Scorer
from cada.export.trl import rewards

SCORER = Scorer.read(Path(__file__).parent)


def cada_reward(prompts, completions, **columns):
    """The rewards in {-1, 0, 1} of completions, None where there is none."""
    return rewards(SCORER, completions, columns)


reward_funcs = [cada_reward]
'''

_TRAIN = '''"""Train phase {phase} with TRL: accelerate launch train.py

Environment: MODEL and OUT (a hub id or folder, where to save), PER_DEVICE (completions of one pass
of one process), USE_VLLM=1 (sample with vLLM in the same processes).
"""

import os
import sys
from pathlib import Path

import torch
from datasets import load_dataset
from trl import RLOOConfig, RLOOTrainer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

SETTINGS = {settings}
COMPLETIONS = {batch}  # of a step: requests x rollouts
UPDATE = {update}  # completions of an update
LORA = {lora}


def passes(completions: int, at_once: int) -> int:
    """So many passes of all processes make up that many completions."""
    if completions % at_once:
        sys.exit(f"{{completions}} completions do not split into passes of {{at_once}}: "
                 "set PER_DEVICE so that PER_DEVICE x processes divides them")
    return completions // at_once


def main() -> None:
    from rewards import reward_funcs

    per_device = int(os.environ.get("PER_DEVICE", "{per_device}"))
    at_once = per_device * int(os.environ.get("WORLD_SIZE", "1"))
    out = os.environ.get("OUT", {out!r})
    config = RLOOConfig(
        output_dir=out,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=passes(UPDATE, at_once),
        steps_per_generation=passes(COMPLETIONS, at_once),
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        use_vllm=os.environ.get("USE_VLLM") == "1",
        **SETTINGS,
    )
    lora = None
    if LORA is not None:
        from peft import LoraConfig

        lora = LoraConfig(task_type="CAUSAL_LM", **LORA)
    files = {{"train": str(HERE / "train.jsonl")}}
    trainer = RLOOTrainer(
        model=os.environ.get("MODEL", {model!r}),
        reward_funcs=reward_funcs,
        args=config,
        train_dataset=load_dataset("json", data_files=files)["train"],
        peft_config=lora,
    )
    trainer.train()
    trainer.save_model(out)


if __name__ == "__main__":
    main()
'''

_MOST_AT_ONCE = 8  # completions of a pass, unless PER_DEVICE says otherwise


def rewards(
    scorer: Scorer, completions: Sequence[Any], columns: Mapping[str, Sequence[Any]]
) -> list[float | None]:
    """A reward a completion; `columns` are the data set's, repeated to the completions' number.

    A completion is a list of chat messages, as for every conversational prompt, or a text.
    """
    names = [name for name in Facts.__dataclass_fields__ if name in columns]
    outputs = [
        (Facts.read({name: columns[name][n] for name in names}), _text(completion))
        for n, completion in enumerate(completions)
    ]
    return [scored.reward for scored in scorer.score(outputs)]


def write(plan: Plan, train: Sequence[Row], validate: Sequence[Row], folder: Path) -> None:
    """Write the export's own files into a folder."""
    for name, rows in (("train", train), ("val", validate)):
        lines = [
            {"prompt": row.chat, "kind": row.kind, "source": row.source, **row.facts.as_dict()}
            for row in rows
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "rewards.py").write_text(_REWARD, encoding="utf-8")
    lora = plan.recipe.lora
    adapters = None
    if lora is not None:
        adapters = {
            "r": lora.rank,
            "lora_alpha": lora.alpha,
            "target_modules": lora.target_modules,
        }
    text = _TRAIN.format(
        phase=repr(plan.phase.name).replace("\\", "\\\\").replace('"', "'"),
        settings=pformat(config(plan), sort_dicts=False),
        batch=plan.batch,
        update=plan.update,
        lora=pformat(adapters, sort_dicts=False),
        per_device=_per_device(plan.update),
        out=f"{plan.recipe.output}-trl",
        model=plan.recipe.model,
    )
    (folder / "train.py").write_text(text, encoding="utf-8")


def config(plan: Plan) -> dict[str, Any]:
    """RLOOConfig's arguments for the phase; adds to the plan's warnings."""
    phase, training = plan.phase, plan.recipe.training
    kl = phase.kl
    if phase.advantage == "batch":
        plan.warn(
            "the baseline is the mean of the group's other rollouts and not of the batch: the same "
            "gradient in the mean"
        )
    if phase.advantage == "group":
        plan.warn(
            "the baseline leaves the rollout itself out: advantages are G / (G − 1) times as large"
        )
    if phase.loss_aggregation == "token_mean":
        plan.warn(
            "the loss sums over a completion's tokens and averages over completions: it is larger "
            "than a mean over tokens by their mean length, and max_grad_norm clips sooner"
        )
    if kl.beta and (kl.place, kl.estimator) != ("reward", "k1"):
        plan.warn("the KL (k1) is taken from the reward, and not differentiated in the loss")
    if phase.ratio_clip is not None:
        plan.warn(
            "ratios of whole completions are clipped to 0.8–1.2 (PPO), and not truncated token by "
            f"token at {phase.ratio_clip:g}"
        )
    schedules = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
    return {
        "learning_rate": phase.learning_rate,
        "lr_scheduler_type": schedules[phase.schedule],
        "warmup_steps": plan.warmup,
        "max_steps": plan.updates,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "num_generations": phase.rollouts_per_request,
        "num_iterations": phase.epochs,
        "max_completion_length": phase.max_tokens,
        "temperature": phase.temperature,
        "top_p": phase.top_p,
        "beta": kl.beta,
        "normalize_advantages": False,
        "shuffle_dataset": False,
        "seed": plan.recipe.seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
    }


def _text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    return "".join(str(message.get("content") or "") for message in completion)


def _per_device(update: int) -> int:
    """The most completions of a pass, up to the usual number, that divide an update."""
    return next(n for n in range(min(_MOST_AT_ONCE, update), 0, -1) if update % n == 0)
