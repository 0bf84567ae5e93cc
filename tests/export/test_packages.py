"""Exports against the trainers themselves; each test runs where its trainer is installed.

TRL 1.16, verl 0.9.1 and OpenRLHF 0.11.2 want other versions of their dependencies than cada's own
environment has: docs/export.md says how to run these tests in environments of their own.
"""

import ast
import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from cada.export.plan import Trainer
from cada.files import read_json_lines
from cada.pipelines.export import export
from tests.export.exports import outputs, recipe, started_with

PHASES: list[dict[str, Any]] = [
    {},
    {"advantage": "group", "kl": {"beta": 0.1, "estimator": "k1", "place": "reward"}},
    {"advantage": "batch", "minibatch": 8, "ratio_clip": 2, "schedule": "cosine", "warmup": 0.5},
]
LORA = {"lora": {"rank": 4, "alpha": 8}}


@pytest.mark.slow
def test_trl_trains_with_an_export(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    small = {"steps": 1, "requests_per_step": 2, "rollouts_per_request": 2, "max_tokens": 2,
             "shares": {"harmful": 0.5, "lookalike": 0.5, "ordinary": 0}}  # fmt: skip
    out = tmp_path / "out"
    export(recipe(tiny_folder, [small], **LORA), Trainer.TRL, out)
    environment = {**os.environ, "OUT": str(tmp_path / "model"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(out / "train.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rewards/cada_reward/mean" in done.stdout + done.stderr
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()


def test_trl_leaves_unscored_completions_out(tiny_folder: Path, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    import accelerate
    import torch

    from tests.export.exports import load

    out = tmp_path / "out"
    export(recipe(tiny_folder), Trainer.TRL, out)
    row = read_json_lines(out / "train.jsonl")[0]
    texts = outputs(row["request"])
    trainer = SimpleNamespace(
        accelerator=accelerate.Accelerator(cpu=True),
        reward_funcs=load(out / "rewards.py").reward_funcs,
        reward_processing_classes=[None],
        reward_func_names=["cada"],
        state=SimpleNamespace(global_step=0),
        args=SimpleNamespace(report_to=[]),
        _log_completion_extra=None,
        _log_metric=None,
    )
    found = trl.RLOOTrainer._calculate_rewards(
        trainer,
        [row] * len(texts),
        [row["prompt"]] * len(texts),
        [[{"role": "assistant", "content": text}] for text in texts],
        [[0]] * len(texts),
    )
    assert found.shape == (len(texts), 1)
    assert torch.isnan(found[4, 0])
    assert torch.isnan(found).sum() == 1
    assert set(found[~torch.isnan(found)].tolist()) <= {-1.0, 0.0, 1.0}


@pytest.mark.parametrize("change", PHASES)
@pytest.mark.parametrize("lora", [{}, LORA], ids=["full", "lora"])
def test_verl_takes_the_settings(
    change: dict[str, Any], lora: dict[str, Any], tiny_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("verl")
    config = _verl_config(recipe(tiny_folder, [change], **lora), tmp_path)
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn, kl_penalty
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    if not lora:  # with adapters, it asks the installed vLLM for their largest rank
        validate_config(config, need_reference_policy(config), need_critic(config))
    get_adv_estimator_fn(config.algorithm.adv_estimator)
    omega_conf_to_dataclass(config.algorithm)
    model = config.actor_rollout_ref.model
    assert isinstance(model.lora_alpha, int)
    assert need_reference_policy(config)
    assert not need_critic(config)
    import torch

    logprobs = torch.zeros(1, 2, requires_grad=True)
    kl_penalty(logprobs, logprobs.detach(), config.actor_rollout_ref.actor.kl_loss_type)


def test_verl_loads_and_rewards_an_export(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("verl")
    config = _verl_config(recipe(tiny_folder), tmp_path)
    import torch
    from verl import DataProto
    from verl.trainer.ppo.reward import load_reward_manager
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    config.data.filter_overlong_prompts = True  # no prompt is longer than the settings say
    config.data.filter_overlong_prompts_workers = None
    train = RLHFDataset(config.data.train_files, tokenizer, config.data)
    assert len(train) == 8
    assert len(RLHFDataset(config.data.val_files, tokenizer, config.data)) == 136
    manager = load_reward_manager(config, tokenizer)
    row = next(r for r in (train[n] for n in range(8)) if r["extra_info"]["harmful"])
    found = []
    for text in outputs(row["extra_info"]["request"])[:6]:
        ids = torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id, 0, 0]])
        mask = torch.ones_like(ids)
        mask[:, -2:] = 0
        batch = collate_fn([row]) | {"responses": ids, "attention_mask": mask}
        data = DataProto.from_single_dict(batch)
        told = manager.loop.run_until_complete(manager.run_single(data))
        found.append((told["reward_score"], told["reward_extra_info"]["unscored"]))
    assert found == [(1, 0), (-1, 0), (1, 0), (0, 0), (0, 1), (0, 0)]


def _verl_config(wanted: Any, tmp_path: Path) -> Any:
    """The settings that the launch script gives verl, as verl composes them."""
    from hydra import compose, initialize_config_module

    export(wanted, Trainer.VERL, tmp_path / "out")
    told = started_with(tmp_path / "out" / "launch.sh", tmp_path, GPUS="2")
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=told[2:])


@pytest.mark.parametrize("change", PHASES)
def test_openrlhf_takes_the_options(
    change: dict[str, Any], tiny_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openrlhf")
    export(recipe(tiny_folder, [change], **LORA), Trainer.OPENRLHF, tmp_path / "out")
    args = _openrlhf_args(tmp_path, GPUS="2")
    assert args.rollout.batch_size == 4
    assert args.rollout.n_samples_per_prompt == 4
    assert args.rollout.max_new_tokens == 8
    assert args.actor.adam.lr == 2e-6
    assert args.ds.lora.alpha == 8
    assert args.vllm.num_engines == 2
    assert args.critic.model_name_or_path is None


def test_openrlhf_loads_and_rewards_an_export(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("openrlhf")
    out = tmp_path / "out"
    export(recipe(tiny_folder), Trainer.OPENRLHF, out)
    args = _openrlhf_args(tmp_path)
    from openrlhf.datasets import PromptDataset
    from openrlhf.datasets.utils import blending_datasets
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    strategy = SimpleNamespace(args=args, print=print, is_rank_0=lambda: True)
    data = blending_datasets(args.data.prompt_dataset, None, strategy, dataset_split="train")
    prompts = PromptDataset(data, tokenizer, strategy)
    assert len(prompts) == 8
    _, prompt, label, _ = next(p for p in prompts if json.loads(p[2])["harmful"])
    executor = SingleTurnAgentExecutor(args.reward.remote_url)
    found = []
    for text in outputs(json.loads(label)["request"])[:6]:
        ids = tokenizer(f"{text}<|im_end|>", add_special_tokens=False)["input_ids"]
        made = SimpleNamespace(
            outputs=[SimpleNamespace(token_ids=ids, finish_reason="stop", logprobs=None)]
        )

        async def generate(*_: Any, made: Any = made, **__: Any) -> Any:
            return made

        told = asyncio.run(
            executor.execute(
                prompt,
                label,
                SimpleNamespace(max_tokens=args.rollout.max_new_tokens, logprobs=None),
                args.data.max_len,
                tokenizer,
                SimpleNamespace(generate=generate),
            )
        )
        found.append((float(told["reward"]), float(told["extra_logs"]["unscored"])))
    assert found == [(1, 0), (-1, 0), (1, 0), (0, 0), (0, 1), (0, 0)]


def _openrlhf_args(tmp_path: Path, **environment: str) -> Any:
    """What OpenRLHF's own command line makes of the launch script, its checks included.

    The part of its program below `if __name__ == "__main__"` is run, without the modules above,
    which need vLLM and flash-attn.
    """
    told = started_with(tmp_path / "out" / "launch.sh", tmp_path, **environment)
    assert told[:2] == ["-m", "openrlhf.cli.train_ppo_ray"]
    found = importlib.util.find_spec("openrlhf")
    assert found is not None
    assert found.origin is not None
    source = (Path(found.origin).parent / "cli" / "train_ppo_ray.py").read_text()
    main = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)
    )
    taken: list[Any] = []
    names = {"train": taken.append}
    program = "import argparse, os\nfrom datetime import datetime\n"
    program += "\n".join(ast.unparse(node) for node in main.body)
    before = sys.argv
    sys.argv = ["train_ppo_ray", *told[2:]]
    try:
        exec(program, names)
    finally:
        sys.argv = before
    return taken[0]
