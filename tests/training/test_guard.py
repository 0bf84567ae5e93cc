"""The guard: what it finds, and where a run ends that it stops."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cada.config.recipe import Guard
from cada.files import read_json_lines
from cada.judging.verdict import Outcome, Verdict
from cada.training.guard import inspect
from cada.training.trainer import Trainer, _merge
from cada.training.update import UpdateResult
from tests.training.test_trainer import ONE, SameJudge, weights
from tests.training.tiny_run import ParityJudge, make_recipe, make_trainer

NAN = float("nan")
KL = {"beta": 0.1, "estimator": "exact"}


@pytest.mark.parametrize("name", ["loss", "grad_norm", "kl"])
@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_what_is_not_finite_is_fatal(name: str, value: float) -> None:
    found = inspect({"loss": 0.1, "grad_norm": 1.0, "kl": 0.1, name: value}, Guard())
    assert found is not None
    assert found.fatal
    assert name in found.reason


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"kl": 1.5}, "KL is 1.50 nats a token, over the limit of 1"),
        ({"benign_refused": 0.9}, "90% of harmless requests are refused, over the limit of 85%"),
    ],
)
def test_a_limit_that_is_passed_is_no_sudden_death(metrics: dict[str, Any], reason: str) -> None:
    found = inspect(metrics, Guard())
    assert found is not None
    assert not found.fatal
    assert found.reason == reason


@pytest.mark.parametrize(
    "metrics",
    [{}, {"loss": None, "grad_norm": None, "kl": None}, {"kl": 1.0, "benign_refused": 0.85}],
)
def test_no_trouble(metrics: dict[str, Any]) -> None:
    assert inspect(metrics, Guard()) is None


def test_a_gradient_that_is_not_finite_is_seen_wherever_it_comes() -> None:
    good, bad = UpdateResult(0.1, 1.0, 2.0, 0.1, 4), UpdateResult(0.1, NAN, 2.0, 0.1, 4)
    for results in ([good, bad], [bad, good], [good, bad, good]):
        assert inspect(_merge(results), Guard()) is not None
    assert inspect(_merge([good, good]), Guard()) is None


def checkpoint(trainer: Trainer, name: str) -> dict[str, Tensor]:
    return load_file(trainer.checkpoints.folder / name / "weights.safetensors")


def assert_rolled_back(trainer: Trainer, stopped_at: int, good: str, reason: str) -> None:
    progress = trainer.progress
    assert progress.stopped is not None
    assert progress.stopped.startswith(f"step {stopped_at}: ")
    assert reason in progress.stopped
    assert progress.stopped.endswith(f"rolled back to {good}")
    expected, found = checkpoint(trainer, good), weights(trainer)
    assert all(torch.equal(found[n], expected[n]) for n in expected)
    rows = read_json_lines(trainer.metrics_path)
    assert [r["step"] for r in rows] == list(range(1, stopped_at + 1))
    assert rows[-1]["stopped"] == progress.stopped


def run(folder: Path, out: Path, **options: Any) -> Trainer:
    phase = {**ONE, "steps": 6, "kl": KL}
    return make_trainer(make_recipe(folder, out, [phase], **options))


@pytest.mark.parametrize("every", [1, 2])
def test_nan_in_the_gradient(tiny_folder: Path, tmp_path: Path, every: int) -> None:
    trainer = run(tiny_folder, tmp_path, checkpoint_every=every, keep_checkpoints=9)
    weight = next(trainer.policy.model.parameters())
    weight.register_hook(lambda g: g * NAN if trainer.progress.step == 3 else g)
    trainer.train()
    # Step 3's rollouts vouch for the newest checkpoint before it.
    assert_rolled_back(trainer, 4, "step-00002", "grad_norm is not a finite number")


def test_kl_over_its_limit(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = run(tiny_folder, tmp_path, guard={"kl_limit": 1e-4, "patience": 2})
    trainer.train()
    # KL is 0 at step 1 and over the limit at steps 2 and 3.
    assert_rolled_back(trainer, 3, "step-00000", "KL is")


def test_harmless_requests_refused(tiny_folder: Path, tmp_path: Path) -> None:
    recipe = make_recipe(
        tiny_folder,
        tmp_path,
        [{**ONE, "steps": 6}],
        guard={"benign_refusal_limit": 0.01, "patience": 1},
    )
    trainer = make_trainer(recipe, SameJudge(Outcome.REFUSED))
    trainer.train()
    assert_rolled_back(trainer, 1, "step-00000", "of harmless requests are refused")


def test_patience_longer_than_the_checkpoints_kept(tiny_folder: Path, tmp_path: Path) -> None:
    """The good checkpoint is kept however old it grows, the untrained model too."""
    recipe = make_recipe(
        tiny_folder,
        tmp_path,
        [{**ONE, "steps": 6}],
        keep_checkpoints=1,
        guard={"benign_refusal_limit": 0.01, "patience": 4},
    )
    trainer = make_trainer(recipe, SameJudge(Outcome.REFUSED))
    trainer.train()
    assert_rolled_back(trainer, 4, "step-00000", "of harmless requests are refused")


def test_a_stopped_run_stays_stopped(tiny_folder: Path, tmp_path: Path) -> None:
    options = {"guard": {"kl_limit": 1e-4, "patience": 1}}
    first = run(tiny_folder, tmp_path, **options)
    first.train()
    again = run(tiny_folder, tmp_path, **options)
    assert again.train() == first.progress
    found, expected = weights(again), weights(first)
    assert all(torch.equal(found[n], expected[n]) for n in expected)
    assert len(read_json_lines(tmp_path / "metrics.jsonl")) == 2


class MoodyJudge(ParityJudge):
    """Calls everything of one step a refusal and everything of the next an answer."""

    def __init__(self) -> None:
        self.calls = 0

    def judge(self, request: str, response: str) -> Verdict:
        refused = self.calls // 8 % 2 == 0
        self.calls += 1
        return Verdict(Outcome.REFUSED if refused else Outcome.COMPLIED, None, "mood", self.name)


def test_trouble_that_passes_is_forgotten(tiny_folder: Path, tmp_path: Path) -> None:
    """Every second step refuses everything; two in a row would end the run."""
    guard = {"benign_refusal_limit": 0.5, "patience": 2}
    recipe = make_recipe(tiny_folder, tmp_path, [{**ONE, "steps": 4}], guard=guard)
    progress = make_trainer(recipe, MoodyJudge()).train()
    refused = [r["benign_refused"] for r in read_json_lines(tmp_path / "metrics.jsonl")]
    assert refused == [1, 0, 1, 0]
    assert (progress.step, progress.trouble, progress.stopped) == (4, 0, None)
