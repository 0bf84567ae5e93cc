"""An exported reward file gives the rewards of `cada align`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoTokenizer

from cada.casebook.loader import load_casebook
from cada.config.sources import RequestSource
from cada.errors import CadaError
from cada.export.openrlhf import response_of
from cada.export.plan import Trainer
from cada.export.scoring import Facts
from cada.files import read_json_lines
from cada.judging.refusal import RefusalJudge
from cada.pipelines.export import export
from cada.requests.sources import load_requests
from cada.rollout.prompts import Prompter
from cada.rollout.types import Prompt, Rollout, Sampling
from cada.training.collect import Collector, Judged
from cada.training.draw import RequestStream
from tests.export.exports import load, outputs, recipe

VERDICT = {"prompting": {"verdict": True, "cases": 2, "refuse_share": "matched"}}
Reward = Callable[[dict[str, Any], str], float | None]


class Scripted:
    """An engine whose completions are `outputs` of the request, in turn; it notes its prompts."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self.prompts: list[Prompt] = []

    def generate(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[list[Rollout]]:
        self.prompts += prompts
        return [
            [
                Rollout(p.request_id, p.mode, p.ids, (0,), (0.0,), text, "stop")
                for text in outputs(self.texts[p.request_id])[:samples]
            ]
            for p in prompts
        ]


def trained(folder: Path, **changes: Any) -> tuple[list[list[int]], list[Judged]]:
    """The prompts that `cada align` samples under, and what it makes of the outputs."""
    wanted = recipe(folder, [{"rollouts_per_request": 9}], **changes)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    casebook = load_casebook("default")
    requests = load_requests(RequestSource(embedded=True, split="train"), casebook)
    engine = Scripted({r.id: r.text for r in requests})
    collector = Collector(
        engine,
        Prompter(casebook, wanted.prompting, tokenizer),
        RefusalJudge(),
        wanted.reward,
        RequestStream(requests, wanted.seed),
    )
    phase = wanted.phases[0]
    judged = [item for step in range(phase.steps) for item in collector.collect(phase, step)[0]]
    return [list(p.ids) for p in engine.prompts], judged


def written(trainer: Trainer, out: Path) -> list[dict[str, Any]]:
    if trainer is Trainer.VERL:
        return [dict(row) for row in pq.read_table(out / "train.parquet").to_pylist()]
    return read_json_lines(out / "train.jsonl")


def verl_reward(out: Path) -> Reward:
    compute_score = load(out / "reward.py").compute_score

    def ask(row: dict[str, Any], text: str) -> float | None:
        truth = row["reward_model"]["ground_truth"]
        found = compute_score(
            data_source=row["data_source"],
            solution_str=text,
            ground_truth=truth,
            extra_info=row["extra_info"],
        )
        assert found["unscored"] == 0.0 or found["score"] == 0.0
        return None if found["unscored"] else found["score"]

    return ask


def trl_reward(out: Path) -> Reward:
    (function,) = load(out / "rewards.py").reward_funcs

    def ask(row: dict[str, Any], text: str) -> float | None:
        columns = {name: [value] for name, value in row.items() if name != "prompt"}
        completion = [{"role": "assistant", "content": text}]
        (found,) = function(
            prompts=[row["prompt"]], completions=[completion], completion_ids=[[0]], **columns
        )
        assert found is None or isinstance(found, float)
        return found

    return ask


def openrlhf_reward(out: Path) -> Reward:
    function = load(out / "reward.py").reward_func

    def ask(row: dict[str, Any], text: str) -> float | None:
        prompt = f"<|im_start|>user\n{row['prompt'][-1]['content']}<|im_end|>\n"
        query = f"{prompt}{text}<|im_end|>"
        found = function([query], [prompt], [row["label"]])
        assert torch.equal(found["rewards"], found["scores"])
        unscored = bool(found["extra_logs"]["unscored"])
        assert not unscored or found["rewards"].item() == 0
        return None if unscored else found["rewards"].item()

    return ask


READERS = {Trainer.VERL: verl_reward, Trainer.TRL: trl_reward, Trainer.OPENRLHF: openrlhf_reward}


@pytest.mark.parametrize("changes", [{}, VERDICT], ids=["plain", "verdict"])
@pytest.mark.parametrize("trainer", Trainer)
def test_prompts_and_rewards_are_those_of_align(
    trainer: Trainer, changes: dict[str, Any], tiny_folder: Path, tmp_path: Path
) -> None:
    prompts, judged = trained(tiny_folder, **changes)
    out = tmp_path / "out"
    export(recipe(tiny_folder, **changes), trainer, out)
    rows = written(trainer, out)
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    told = [
        tokenizer.apply_chat_template(row["prompt"], tokenize=True, add_generation_prompt=True)
        for row in rows
    ]
    assert [list(each["input_ids"]) for each in told] == prompts

    reward = READERS[trainer](out)
    found = [reward(rows[n // 9], item.rollout.text) for n, item in enumerate(judged)]
    assert found == [item.reward for item in judged]
    assert {-1.0, 0.0, 1.0, None} <= set(found)


def test_copied_analyses_of_the_cases_earn_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    export(recipe(tiny_folder), Trainer.VERL, tmp_path / "out")
    row = next(r for r in written(Trainer.VERL, tmp_path / "out") if r["extra_info"]["harmful"])
    refusal = "Final response: I can't help with that, because it would do harm."
    reward = verl_reward(tmp_path / "out")
    own = f"Somebody who asks this, {row['extra_info']['request']!r}, may want to hurt people."
    assert reward(row, f"Analysis: {own}\n\n{refusal}") == 1
    for shown in row["extra_info"]["shown"]:
        assert reward(row, f"Analysis: {shown}\n\n{refusal}") == 0


def test_rewards_need_neither_torch_nor_the_trainer(tiny_folder: Path, tmp_path: Path) -> None:
    export(recipe(tiny_folder), Trainer.VERL, tmp_path / "out")
    (tmp_path / "row.json").write_text(json.dumps(written(Trainer.VERL, tmp_path / "out")[0]))
    program = """
import json, sys
for name in ("torch", "transformers", "datasets", "accelerate", "peft", "typer", "rich", "scipy",
             "plotly", "gguf", "inspect_ai"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
import reward
row = json.load(open(sys.argv[2]))
print(reward.compute_score("x", "I can't help with that.", "harmful", row["extra_info"])["refused"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out"), str(tmp_path / "row.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "1.0\n", done.stderr


@pytest.mark.parametrize("lost", ["request", "harmful", "shown"])
def test_a_data_set_without_the_rewards_columns_is_told(lost: str) -> None:
    row = Facts("a", "How?", True, None, (), "code").as_dict()
    assert Facts.read(row) == Facts("a", "How?", True, None, (), "code")
    del row[lost]
    with pytest.raises(CadaError, match=f"lacks what the reward needs .*{lost}"):
        Facts.read(row)


@pytest.mark.parametrize(("name", "value"), [("harmful", "yes"), ("request", 3), ("shown", [1])])
def test_columns_of_another_type_are_told(name: str, value: Any) -> None:
    row = Facts("a", "How?", True, None, (), "code").as_dict()
    with pytest.raises(CadaError, match="another type"):
        Facts.read(row | {name: value})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("<s>the prompt<a>yes<e>", "yes"),
        ("<s>the prompt<a>yes <e>no<e><e>", "yes no"),
        # decoding dropped a space, or the prompt was cut from the left
        ("<s> the prompt<a>yes<e>", "<s> the prompt<a>yes"),
        ("prompt<a>yes<e>", "prompt<a>yes"),
    ],
)
def test_a_completion_is_cut_out_of_its_query(query: str, found: str) -> None:
    assert response_of(query, "<s>the prompt<a>", ["<e>"]) == found


def test_a_completion_that_repeats_the_prompts_end_is_judged_whole() -> None:
    prompt = "x" * 50 + "y" * 200
    cut = prompt[20:]
    assert response_of(cut + "bad" + "y" * 200 + "good", prompt, []) == "bad" + "y" * 200 + "good"
