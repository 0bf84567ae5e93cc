"""Training on rollouts of a vLLM server: the weights reach it, or the run stops."""

from collections.abc import Iterator
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch

from cada.config.phase import Phase
from cada.config.recipe import Lora, Recipe
from cada.config.rollout import VllmOptions
from cada.errors import CadaError
from cada.files import read_json_lines
from cada.models.load import load_policy
from cada.rollout.transformers_engine import SharedEngine
from cada.rollout.types import EngineLostError, Prompt, Rollout, Sampling
from cada.training.mismatch import (
    Mismatch,
    check_mismatch,
    corrected,
    sampler_mismatch,
    spread,
)
from cada.training.trainer import Trainer
from tests.rollout.fake_vllm import FakeVllm
from tests.training.tiny_run import TWO_PHASES, make_recipe, make_trainer

# So large a rate moves every log-probability far.
PHASE = {"name": "one", "steps": 3, "loss_context": "cases", "learning_rate": 1e-1}


@pytest.fixture
def server(tiny_folder: Path) -> Iterator[FakeVllm]:
    """Serves another copy of the tiny model."""
    with FakeVllm(load_policy(str(tiny_folder), device="cpu")).running() as running:
        yield running


def recipe_of(
    server: FakeVllm, model: Path, out: Path, phases: Any = None, **training: Any
) -> Recipe:
    vllm = {"base_url": server.url, "retries": 0, **training.pop("vllm", {})}
    rollout = {"engine": "vllm", "vllm": vllm}
    return make_recipe(model, out, phases or [PHASE], rollout=rollout, **training)


def mismatches(out: Path) -> list[float]:
    return [row["sampler_mismatch"] for row in read_json_lines(out / "metrics.jsonl")]


@pytest.mark.parametrize("lora", [None, {"rank": 4, "alpha": 8}])
def test_the_server_samples_from_the_policy_after_each_update(
    server: FakeVllm, tiny_folder: Path, tmp_path: Path, lora: Any
) -> None:
    trainer = make_trainer(recipe_of(server, tiny_folder, tmp_path, lora=lora))
    before = {n: p.detach().clone() for n, p in trainer.policy.model.named_parameters()}
    trainer.train()
    after = trainer.policy.model.state_dict()
    assert max(float((after[n] - was).abs().max()) for n, was in before.items()) > 0.05
    assert len(mismatches(tmp_path)) == 3
    assert max(mismatches(tmp_path)) < 1e-4
    for row in read_json_lines(tmp_path / "metrics.jsonl"):
        assert row["sampler_mismatch"] <= row["sampler_mismatch_max"] < 1e-3
        assert row["seconds_weights"] > 0
        assert row["updates"] == 1


def test_a_server_that_keeps_its_weights_stops_the_run(
    server: FakeVllm, tiny_folder: Path, tmp_path: Path
) -> None:
    """And none of what it sampled is learnt from, then or when the run goes on."""
    server.deaf = True
    recipe = recipe_of(server, tiny_folder, tmp_path)
    with pytest.raises(CadaError, match="its weights were not updated") as caught:
        make_trainer(recipe).train()
    assert "over the limit of 0.1" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(mismatches(tmp_path)) == 1
    server.deaf = False
    server.bodies.clear()
    assert make_trainer(recipe).train().step == 3
    assert len(server.bodies) == 2 * 4
    assert max(mismatches(tmp_path)) < 1e-4


def test_without_the_limit_the_mismatch_is_seen(
    server: FakeVllm, tiny_folder: Path, tmp_path: Path
) -> None:
    server.deaf = True
    recipe = recipe_of(server, tiny_folder, tmp_path, vllm={"mismatch_limit": 1e9})
    make_trainer(recipe).train()
    first, *later = mismatches(tmp_path)
    assert first < 1e-4
    assert min(later) > 0.1


def test_the_weights_are_handed_over_only_when_they_changed(
    server: FakeVllm, tiny_folder: Path, tmp_path: Path
) -> None:
    """With one kind of reward there is nothing to learn, so that nothing changes."""
    idle = {**PHASE, "positive_only": True, "max_tokens": 1}  # an answer cut off is not kept
    make_trainer(recipe_of(server, tiny_folder, tmp_path, [idle])).train()
    rows = read_json_lines(tmp_path / "metrics.jsonl")
    assert [row["updates"] for row in rows] == [0, 0, 0]
    assert server.resets == 1
    assert ["seconds_weights" in row for row in rows] == [True, False, False]


def test_a_run_whose_server_died_goes_on(
    server: FakeVllm, tiny_folder: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(server, tiny_folder, tmp_path, vllm={"concurrency": 1})
    server.answers = 6
    with pytest.raises(EngineLostError, match="2 of 4 prompts are sampled and kept"):
        make_trainer(recipe).train()
    server.answers = None
    # The server is another one, with the weights that it was started with.
    server.policy.model.load_state_dict(
        load_policy(str(tiny_folder), device="cpu").model.state_dict()
    )
    assert make_trainer(recipe).train().step == 3
    assert len(server.bodies) == 3 * 4
    assert max(mismatches(tmp_path)) < 1e-4


def test_two_phases_in_other_contexts(server: FakeVllm, tiny_folder: Path, tmp_path: Path) -> None:
    """The log-probabilities are compared under the sampler's prompt, whatever the loss's is."""
    make_trainer(recipe_of(server, tiny_folder, tmp_path, TWO_PHASES)).train()
    assert len(mismatches(tmp_path)) == 5
    assert max(mismatches(tmp_path)) < 1e-4


def test_nothing_is_measured_under_a_nucleus(
    server: FakeVllm, tiny_folder: Path, tmp_path: Path
) -> None:
    cut = {**PHASE, "steps": 1, "top_p": 0.9, "ratio_clip": 2.0}
    make_trainer(recipe_of(server, tiny_folder, tmp_path, [cut])).train()
    (row,) = read_json_lines(tmp_path / "metrics.jsonl")
    assert "sampler_mismatch" not in row


def test_the_mismatch_is_the_mean_and_the_largest_gap(tiny_folder: Path) -> None:
    policy = load_policy(str(tiny_folder), device="cpu", lora=Lora(rank=4, alpha=8))
    prompts = [Prompt("a", "none", (1, 5), (7 + i,)) for i in range(2)]
    groups = SharedEngine(policy).generate(prompts, 2, Sampling(4, 0.5), 3)
    rollouts = [r for group in groups for r in group]
    n = sum(len(r.completion_ids) for r in rollouts)
    first, *rest = rollouts[0].logprobs
    shifted = [replace(rollouts[0], logprobs=(first + 3.0, *rest)), *rollouts[1:]]
    exact = sampler_mismatch(policy, rollouts, 0.5, 64, torch.no_grad)
    found = sampler_mismatch(policy, shifted, 0.5, 64, torch.no_grad)
    other = sampler_mismatch(policy, rollouts, 1.0, 64, torch.no_grad)
    assert exact.largest < 1e-4
    assert found.tokens == n
    assert found.mean == pytest.approx(3.0 / n, abs=1e-4)
    assert found.largest == pytest.approx(3.0, abs=1e-4)
    assert other.mean > 0.1  # at another temperature these are other numbers


def test_rollouts_are_picked_evenly() -> None:
    each = [Rollout(str(i), "none", (), (), (), "", "stop") for i in range(10)]
    assert [r.request_id for r in spread(each, 4)] == ["0", "2", "5", "7"]
    assert spread(each, 99) == each


def test_no_number_is_over_every_limit() -> None:
    check_mismatch(Mismatch(0.1, 5.0, 3), VllmOptions())
    for wrong in (0.11, nan):
        with pytest.raises(CadaError, match="its weights were not updated"):
            check_mismatch(Mismatch(wrong, 5.0, 3), VllmOptions())


def test_a_ratio_for_what_is_rounded_otherwise() -> None:
    """In phases that take one and have none."""
    on = Phase(name="on", steps=1, loss_context="cases")
    own = Phase(name="own", steps=1, ratio_clip=5.0)
    distil = Phase(name="distil", steps=1, positive_only=True)
    assert corrected(on, VllmOptions()).ratio_clip == 2.0
    assert corrected(on, VllmOptions(ratio_clip=None)).ratio_clip is None
    assert corrected(own, VllmOptions()).ratio_clip == 5.0
    assert corrected(distil, VllmOptions()).ratio_clip is None


def test_the_trainer_takes_that_ratio(server: FakeVllm, tiny_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(recipe_of(server, tiny_folder, tmp_path))
    plain = Trainer(
        make_recipe(tiny_folder, tmp_path / "plain", [PHASE]),
        trainer.policy,
        trainer.collector.prompter,
        trainer.collector.judge,
        [],
        tmp_path / "plain",
    )
    assert [p.ratio_clip for p in trainer.phases] == [2.0]
    assert [p.ratio_clip for p in plain.phases] == [None]
