"""An export for verl: Parquet files, a reward function, and settings for its Ray trainer.

Checked with verl 0.9.1. Its PPO loss with one update a step has ratio 1 everywhere, and is then
REINFORCE to the gradient; further updates use its REINFORCE loss with truncated ratios.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cada.export.launch import script
from cada.export.plan import Plan
from cada.export.rows import Row
from cada.export.scoring import Facts, Scorer

_PLAIN = re.compile(r"[a-z][a-z0-9_-]*\+?")  # texts that hydra reads as they are
_WORDS = ("true", "false", "null", "inf", "nan")
_ESTIMATORS = {"exact": "k3+", "k3": "k3", "k2": "k2", "k1": "k1"}

_PLACES = [
    "actor_rollout_ref.model.path='$MODEL'",
    "data.train_files='$HERE/train.parquet'",
    "data.val_files='$HERE/val.parquet'",
    "reward.custom_reward_function.path='$HERE/reward.py'",
    "reward.custom_reward_function.name=compute_score",
    "trainer.nnodes=$NODES",
    "trainer.n_gpus_per_node=$GPUS",
    "actor_rollout_ref.rollout.tensor_model_parallel_size=$TENSOR_PARALLEL",
    "trainer.default_local_dir='$OUT'",
]

_REWARD = '''"""The reward of the exported recipe, for verl (`reward.custom_reward_function`).

Judge and reward are cada's own: `pip install --no-deps cada-align` where rewards are computed, and
the few packages that docs/export.md names. An answer that the judge cannot score gets the score 0
and `unscored` 1: verl has no way to leave one answer out.
"""

from pathlib import Path

from cada.export.scoring import Scorer
from cada.export.verl import score

SCORER = Scorer.read(Path(__file__).parent)


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    """The score in {-1, 0, 1} of one output, with what was found."""
    return score(SCORER, solution_str, extra_info)
'''

_SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        (
            "extra_info",
            pa.struct(
                [
                    ("index", pa.int64()),
                    ("split", pa.string()),
                    ("kind", pa.string()),
                    ("step", pa.int64()),
                    ("id", pa.string()),
                    ("request", pa.string()),
                    ("harmful", pa.bool_()),
                    ("hazard", pa.string()),
                    ("shown", pa.list_(pa.string())),
                    ("code", pa.string()),
                ]
            ),
        ),
    ]
)


def score(scorer: Scorer, text: str, extra_info: Mapping[str, Any] | None) -> dict[str, float]:
    """What verl's reward manager takes: `score`, and 0 or 1 for `unscored`, `reasoned` and
    `refused`, which it averages.

    verl can leave no answer out, so that one without a reward gets the score 0.
    """
    (found,) = scorer.score([(Facts.read(extra_info or {}), text)])
    return {
        "score": 0.0 if found.reward is None else found.reward,
        "unscored": float(found.reward is None),
        "reasoned": float(found.reasoned),
        "refused": float(found.outcome == "refused"),
    }


def write(plan: Plan, train: Sequence[Row], validate: Sequence[Row], folder: Path) -> None:
    """Write the export's own files into a folder."""
    _parquet(train, "train", folder)
    _parquet(validate, "val", folder)
    (folder / "reward.py").write_text(_REWARD, encoding="utf-8")
    settings = [f"{key}={_hydra(value)}" for key, value in overrides(plan).items()]
    settings += _PLACES
    launch = script(
        plan,
        ["-m", "verl.trainer.main_ppo"],
        [[each] for each in settings],
        "verl (pip install verl, vLLM and cada-align --no-deps on every node).\n"
        "# In a Ray cluster: ray job submit -- bash FOLDER/launch.sh, on a disk that all nodes see",
    )
    (folder / "launch.sh").write_text(launch, encoding="utf-8")


def overrides(plan: Plan) -> dict[str, Any]:
    """verl's settings for the phase, by their dotted names; adds to the plan's warnings."""
    phase, training, recipe = plan.phase, plan.recipe.training, plan.recipe
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    whole = plan.longest_prompt + phase.max_tokens
    tokens = max(training.tokens_per_microbatch, whole)
    sums = phase.loss_aggregation == "sequence_sum"
    settings: dict[str, Any] = {
        **_advantage(plan),
        **_penalty(plan),
        "data.train_batch_size": phase.requests_per_step,
        "data.max_prompt_length": plan.longest_prompt,
        "data.max_response_length": phase.max_tokens,
        "data.truncation": "error",
        "data.shuffle": False,
        f"{actor}.ppo_mini_batch_size": plan.update // phase.rollouts_per_request,
        f"{actor}.ppo_epochs": phase.epochs,
        f"{actor}.use_dynamic_bsz": True,
        f"{actor}.ppo_max_token_len_per_gpu": tokens,
        f"{actor}.loss_agg_mode": "seq-mean-token-sum" if sums else "token-mean",
        f"{actor}.entropy_coeff": 0,
        f"{actor}.grad_clip": training.max_grad_norm,
        f"{actor}.optim.lr": phase.learning_rate,
        f"{actor}.optim.lr_warmup_steps": plan.warmup,
        f"{actor}.optim.lr_scheduler_type": _schedule(plan),
        f"{actor}.optim.weight_decay": training.weight_decay,
        f"{rollout}.name": "vllm",
        f"{rollout}.n": phase.rollouts_per_request,
        f"{rollout}.temperature": phase.temperature,
        f"{rollout}.top_p": phase.top_p,
        f"{rollout}.seed": recipe.seed,
        "trainer.total_epochs": 1,
        "trainer.total_training_steps": phase.steps,
        "trainer.test_freq": phase.steps,
        "trainer.save_freq": phase.steps,
        "trainer.project_name": "cada",
        "trainer.experiment_name": phase.name,
        "trainer.logger": ["console"],
    }
    if recipe.lora is not None:
        model = "actor_rollout_ref.model"
        settings[f"{model}.lora_rank"] = recipe.lora.rank
        settings[f"{model}.lora_alpha"] = plan.alpha
        settings[f"{model}.target_modules"] = recipe.lora.target_modules
        settings[f"{rollout}.load_format"] = "safetensors"
    plan.warn(
        "an answer that the judge cannot score counts as reward 0: verl can leave none out "
        "(see `unscored` in its metrics)"
    )
    return settings


def _advantage(plan: Plan) -> dict[str, Any]:
    phase = plan.phase
    settings: dict[str, Any] = {"algorithm.adv_estimator": "rloo"}
    if phase.advantage == "group":
        settings = {
            "algorithm.adv_estimator": "grpo",
            "algorithm.norm_adv_by_std_in_grpo": False,
        }
    elif phase.advantage == "batch" and phase.rollouts_per_request > 1:
        plan.warn(
            "the baseline is the mean of the group's other rollouts and not of the batch: the same "
            "gradient in the mean"
        )
    elif phase.advantage == "batch":
        settings = {"algorithm.adv_estimator": "reinforce_plus_plus"}
        plan.warn("the rewards are also divided by their standard deviation over the batch")
    if phase.ratio_clip is not None:
        correction = "algorithm.rollout_correction"
        settings |= {
            f"{correction}.bypass_mode": True,
            f"{correction}.loss_type": "reinforce",
            f"{correction}.rollout_is": "token",
            f"{correction}.rollout_is_threshold": phase.ratio_clip,
        }
    return settings


def _penalty(plan: Plan) -> dict[str, Any]:
    kl = plan.phase.kl
    in_reward = bool(kl.beta) and kl.place == "reward"
    in_loss = bool(kl.beta) and kl.place == "loss"
    settings: dict[str, Any] = {
        "algorithm.use_kl_in_reward": in_reward,
        "actor_rollout_ref.actor.use_kl_loss": in_loss,
    }
    if in_reward:
        settings |= {"algorithm.kl_penalty": "kl", "algorithm.kl_ctrl.kl_coef": kl.beta}
    if in_loss:
        settings |= {
            "actor_rollout_ref.actor.kl_loss_coef": kl.beta,
            "actor_rollout_ref.actor.kl_loss_type": _ESTIMATORS[kl.estimator],
        }
    return settings


def _schedule(plan: Plan) -> str:
    if plan.phase.schedule != "linear":
        return plan.phase.schedule
    plan.warn("the learning rate falls as a cosine: verl's has no linear schedule")
    return "cosine"


def _hydra(value: Any) -> str:
    """A value in the grammar of hydra's overrides."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ",".join(map(_hydra, value)) + "]"
    if isinstance(value, str) and (value in _WORDS or not _PLAIN.fullmatch(value)):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)


def _parquet(rows: Sequence[Row], split: str, folder: Path) -> None:
    records = [_record(row, split, index) for index, row in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(records, schema=_SCHEMA), folder / f"{split}.parquet")


def _record(row: Row, split: str, index: int) -> dict[str, Any]:
    told: dict[str, Any] = {"index": index, "split": split, "kind": row.kind, "step": row.step}
    return {
        "data_source": f"{row.source}/{row.kind}",
        "prompt": row.chat,
        "ability": "safety",
        "reward_model": {"style": "rule", "ground_truth": row.ground_truth},
        "extra_info": told | row.facts.as_dict(),
    }
