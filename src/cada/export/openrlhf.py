"""An export for OpenRLHF: JSON lines, a reward function, and a script for its Ray trainer.

Checked with OpenRLHF 0.11.2. It hands a reward function whole texts, special tokens included, and
its loss is PPO's, which is REINFORCE to the gradient while a step has one update.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cada.errors import CadaError
from cada.export.launch import script
from cada.export.plan import Plan
from cada.export.rows import Row
from cada.export.scoring import Facts, Scorer

if TYPE_CHECKING:
    import torch

_PICTURE = "<image>"
_TAIL = 200  # characters that tell where a prompt ends

_PLACES = [
    ("--actor.model_name_or_path", "$MODEL"),
    ("--data.prompt_dataset", "$HERE/train.jsonl"),
    ("--eval.dataset", "$HERE/val.jsonl"),
    ("--reward.remote_url", "$HERE/reward.py"),
    ("--ckpt.output_dir", "$OUT"),
    ("--ckpt.path", "$OUT/checkpoints"),
    ("--actor.num_nodes", "$NODES"),
    ("--actor.num_gpus_per_node", "$GPUS"),
    ("--ref.num_nodes", "$NODES"),
    ("--ref.num_gpus_per_node", "$GPUS"),
    ("--vllm.num_engines", "$ENGINES"),
    ("--vllm.tensor_parallel_size", "$TENSOR_PARALLEL"),
]

_REWARD = '''"""The reward of the exported recipe, for OpenRLHF (--reward.remote_url).

Judge and reward are cada's own. An answer that the judge cannot score gets the reward 0 and
`unscored` 1 in the logs: OpenRLHF has no way to leave one answer out.
"""

from pathlib import Path

from cada.export.openrlhf import reward
from cada.export.scoring import Scorer

SCORER = Scorer.read(Path(__file__).parent)
SPECIAL_TOKENS = {special_tokens!r}


def reward_func(queries, prompts, labels, **_):
    """The rewards in {{-1, 0, 1}} of prompts with their completions."""
    return reward(SCORER, queries, prompts, labels, SPECIAL_TOKENS)
'''


def reward(
    scorer: Scorer,
    queries: Sequence[str],
    prompts: Sequence[str],
    labels: Sequence[str],
    special_tokens: Sequence[str],
) -> "dict[str, torch.Tensor | dict[str, torch.Tensor]]":
    """What OpenRLHF takes: `rewards` and `scores` `[B]`, and `extra_logs` of 0 or 1.

    Args:
        scorer: of the exported folder.
        queries: prompts with completions, as decoded with their special tokens.
        prompts: the prompts.
        labels: JSON texts of `Facts`.
        special_tokens: to be taken out of the completions, as sampling in cada does.
    """
    import torch

    outputs = [
        (Facts.read(json.loads(label)), response_of(query, prompt, special_tokens))
        for query, prompt, label in zip(queries, prompts, labels, strict=True)
    ]
    found = scorer.score(outputs)
    rewards = torch.tensor([0.0 if s.reward is None else s.reward for s in found])
    return {
        "rewards": rewards,
        "scores": rewards,
        "extra_logs": {
            "unscored": torch.tensor([float(s.reward is None) for s in found]),
            "reasoned": torch.tensor([float(s.reasoned) for s in found]),
            "refused": torch.tensor([float(s.outcome == "refused") for s in found]),
        },
    }


def response_of(query: str, prompt: str, special_tokens: Sequence[str]) -> str:
    """The completion in a query, without special tokens.

    Where decoding did not give the prompt back to the letter, the completion begins after the
    first place where the prompt's end stands: a completion that repeats that end is then judged
    whole. Where there is none, the whole query is judged.
    """
    if query.startswith(prompt):
        text = query[len(prompt) :]
    else:
        tail = prompt[-_TAIL:]
        at = query.find(tail)
        text = query[at + len(tail) :] if at >= 0 else query
    for token in sorted(special_tokens, key=len, reverse=True):
        text = text.replace(token, "")
    return text


def write(plan: Plan, train: Sequence[Row], validate: Sequence[Row], folder: Path) -> None:
    """Write the export's own files into a folder.

    Raises:
        CadaError: a prompt holds the text that OpenRLHF takes for a picture.
    """
    for name, rows in (("train", train), ("val", validate)):
        lines = [_line(row) for row in rows]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    text = _REWARD.format(special_tokens=list(plan.special_tokens))
    (folder / "reward.py").write_text(text, encoding="utf-8")
    launch = script(
        plan,
        ["-m", "openrlhf.cli.train_ppo_ray"],
        [*options(plan), *_PLACES],
        "OpenRLHF (pip install 'openrlhf[vllm]' and cada-align --no-deps on every node).\n"
        "# In a Ray cluster: ray job submit -- bash FOLDER/launch.sh, on a disk that all nodes see",
    )
    (folder / "launch.sh").write_text(launch, encoding="utf-8")


def options(plan: Plan) -> list[tuple[str, ...]]:
    """OpenRLHF's options for the phase; adds to the plan's warnings."""
    phase, training, recipe = plan.phase, plan.recipe.training, plan.recipe
    schedules = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
    found: list[tuple[str, Any]] = [
        ("--data.input_key", "prompt"),
        ("--data.label_key", "label"),
        ("--data.max_len", plan.longest_prompt + phase.max_tokens),
        ("--rollout.max_new_tokens", phase.max_tokens),
        ("--rollout.batch_size", phase.requests_per_step),
        ("--rollout.n_samples_per_prompt", phase.rollouts_per_request),
        ("--rollout.temperature", phase.temperature),
        ("--rollout.top_p", phase.top_p),
        ("--train.batch_size", plan.update),
        ("--train.max_epochs", phase.epochs),
        ("--train.num_episodes", 1),
        ("--train.seed", recipe.seed),
        ("--actor.adam.lr", phase.learning_rate),
        ("--actor.adam.weight_decay", training.weight_decay),
        ("--actor.max_norm", training.max_grad_norm),
        ("--actor.lr_scheduler", schedules[phase.schedule]),
        ("--actor.lr_warmup_ratio", phase.warmup),
        ("--actor.loss_agg_mode", "token-mean"),
        ("--algo.advantage.estimator", _estimator(plan)),
        ("--eval.temperature", 0),
        ("--eval.n_samples_per_prompt", 1),
        ("--eval.steps", phase.steps),
        ("--ds.zero_stage", 3),
        *_penalty(plan),
    ]
    if recipe.lora is not None:
        found += [("--ds.lora.rank", recipe.lora.rank), ("--ds.lora.alpha", plan.alpha)]
    texts: list[tuple[str, ...]] = [(name, str(value)) for name, value in found]
    texts += [
        ("--data.apply_chat_template",),
        ("--actor.adam.betas", "0.9", "0.999"),
        ("--train.colocate_all",),
        ("--vllm.enable_sleep",),
        ("--ds.enable_sleep",),
        ("--vllm.enable_prefix_caching",),
        ("--actor.gradient_checkpointing_enable",),
    ]
    if recipe.lora is not None:
        modules = recipe.lora.target_modules
        names = [modules] if isinstance(modules, str) else modules
        texts.append(("--ds.lora.target_modules", *names))
    if phase.kl.beta and phase.kl.place == "loss":
        texts.append(("--algo.kl.use_loss",))
        if phase.kl.estimator == "exact":
            texts.append(("--algo.kl.unbiased_gradient",))
    _warn(plan)
    return texts


def _warn(plan: Plan) -> None:
    phase = plan.phase
    plan.warn(
        "requests are shuffled: a step has the phase's shares in the mean only, and mixes the "
        "cases of several steps"
    )
    plan.warn(
        "an answer that the judge cannot score counts as reward 0: OpenRLHF can leave none out "
        "(see `unscored` in its logs)"
    )
    if phase.loss_aggregation == "sequence_sum":
        plan.warn("the loss is a mean over tokens: OpenRLHF has no sum over a completion's tokens")
    if phase.ratio_clip is not None:
        plan.warn(f"ratios are clipped to 0.8–1.2 (PPO), and not truncated at {phase.ratio_clip:g}")


def _estimator(plan: Plan) -> str:
    names = {"leave_one_out": "rloo", "group": "dr_grpo", "batch": "flash_reinforce"}
    return names[plan.phase.advantage]


def _penalty(plan: Plan) -> list[tuple[str, Any]]:
    kl = plan.phase.kl
    estimator = "k3" if kl.estimator == "exact" else kl.estimator
    return [
        ("--algo.kl.init_coef", kl.beta),
        ("--algo.kl.estimator", estimator if kl.beta else "k1"),
    ]


def _line(row: Row) -> dict[str, Any]:
    if any(_PICTURE in content for _, content in row.messages):
        raise CadaError(
            f"OpenRLHF takes {_PICTURE} in a prompt for a picture",
            where=f"request {row.facts.id!r}",
            mend="Leave the request out, or reword it",
        )
    return {
        "prompt": row.chat,
        "label": json.dumps(row.facts.as_dict(), ensure_ascii=False),
        "datasource": f"{row.source}/{row.kind}",
    }
