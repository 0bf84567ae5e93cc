"""Whole runs on a tiny model: what they write, learn, skip and refuse."""

import json
import resource
from math import cos, isfinite, pi
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from cada.errors import CadaError
from cada.files import read_json_lines
from cada.judging.verdict import Outcome, Verdict
from cada.training.trainer import Trainer
from tests.training.tiny_run import (
    ParityJudge,
    make_recipe,
    make_trainer,
    requests,
)

ONE = {"name": "one", "steps": 4, "loss_context": "cases", "learning_rate": 1e-2}
FIELDS = {
    "step", "phase", "phase_step", "rollouts", "sampled", "reward", "share_plus", "share_zero",
    "share_minus", "share_unscored", "reasoned", "length", "truncated", "harmful_plus",
    "harmful_refused", "lookalike_plus", "lookalike_refused", "ordinary_plus",
    "ordinary_refused", "benign_refused", "groups_without_signal", "kept", "loss", "grad_norm",
    "entropy", "kl", "update_tokens", "updates", "skipped", "learning_rate", "seconds_rollout",
    "seconds_update", "tokens_per_second",
}  # fmt: skip


class SameJudge(ParityJudge):
    """Gives every response one outcome."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def judge(self, request: str, response: str) -> Verdict:
        return Verdict(self.outcome, None, "same", self.name)


class LetterJudge(ParityJudge):
    """A response with that letter is a refusal."""

    def judge(self, request: str, response: str) -> Verdict:
        has = "a" in response
        return Verdict(Outcome.REFUSED if has else Outcome.COMPLIED, None, "letter", self.name)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in trainer.policy.model.named_parameters()}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[n], two[n]) for n in two)


def metrics(out: Path) -> list[dict[str, Any]]:
    return read_json_lines(out / "metrics.jsonl")


@pytest.fixture(scope="module")
def done(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two phases, with a tracker."""
    out = tmp_path_factory.mktemp("done")
    make_trainer(make_recipe(tiny_folder, out, trackers=["tensorboard"])).train()
    return out


def test_a_line_a_step_with_every_field(done: Path) -> None:
    rows = metrics(done)
    assert [(r["step"], r["phase"], r["phase_step"]) for r in rows] == [
        (1, "first", 1),
        (2, "first", 2),
        (3, "second", 1),
        (4, "second", 2),
        (5, "second", 3),
    ]
    for row in rows:
        sides = {"harmful_weight", "benign_weight"} if row["phase"] == "second" else set()
        assert set(row) == FIELDS | sides
        assert row["rollouts"] == 8
        shares = [row[f"share_{name}"] for name in ("plus", "zero", "minus", "unscored")]
        assert sum(shares) == pytest.approx(1)
        assert row["reward"] == pytest.approx(row["share_plus"] - row["share_minus"])
        assert all(isfinite(v) for v in row.values() if isinstance(v, float))
        assert row["kl"] >= 0
        assert row["entropy"] > 0
    assert [r["updates"] for r in rows] == [1, 1, 2, 2, 2]
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert rows[1]["kl"] > 1e-4


def test_a_phases_kl_begins_anew_where_the_phase_is_the_reference(done: Path) -> None:
    """Two updates a step: the first of them sees the reference itself."""
    second = [r["kl"] for r in metrics(done)[2:]]
    assert second[0] < second[1]


def test_rollouts_read_as_one_table(done: Path) -> None:
    table = pq.read_table(done / "rollouts").to_pandas()
    assert len(table) == 5 * 8
    assert set(table["step"]) == {1, 2, 3, 4, 5}
    assert set(table["kind"]) == {"harmful", "lookalike", "ordinary"}
    assert (table["tokens"] <= 8).all()


def test_a_tracker_gets_the_figures(done: Path) -> None:
    assert list(done.rglob("events.out.tfevents*"))


def test_checkpoints_are_few(done: Path) -> None:
    names = sorted(p.name for p in (done / "checkpoints").glob("step-*"))
    assert names == ["step-00004", "step-00005"]
    assert json.loads((done / "checkpoints/step-00005/progress.json").read_text())["updates"] == 8


def test_steps_whose_rows_are_all_of_one_kind_read_as_one_table(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """A column that is empty in one step keeps its type."""
    ordinary = {**ONE, "shares": {"harmful": 0, "lookalike": 0, "ordinary": 1}, "steps": 1}
    harmful = {**ONE, "shares": {"harmful": 1, "lookalike": 0, "ordinary": 0}, "steps": 1}
    phases = [ordinary | {"name": "a"}, harmful | {"name": "b"}]
    make_trainer(make_recipe(tiny_folder, tmp_path, phases)).train()
    table = pq.read_table(tmp_path / "rollouts").to_pandas()
    assert set(table["kind"]) == {"harmful", "ordinary"}
    assert set(table["hazard"].dropna()) == {"nonviolent_crimes"}


def test_what_pays_off_becomes_more_frequent(tiny_folder: Path, tmp_path: Path) -> None:
    phase = {
        **ONE,
        "steps": 6,
        "rollout_mode": "none",
        "rollouts_per_request": 12,
        "max_tokens": 3,
        "temperature": 0.25,
        "learning_rate": 3e-3,
        "warmup": 0,
        "shares": {"harmful": 1, "lookalike": 0, "ordinary": 0},
    }
    make_trainer(make_recipe(tiny_folder, tmp_path, [phase]), LetterJudge()).train()
    refused = [r["harmful_refused"] for r in metrics(tmp_path)]
    assert refused[0] < 0.7
    assert min(refused[-2:]) > 0.9


@pytest.mark.parametrize("outcome", [Outcome.COMPLIED, Outcome.UNSCORED])
@pytest.mark.parametrize("advantage", ["batch", "group", "leave_one_out"])
def test_a_step_without_signal_is_skipped_and_counted(
    tiny_folder: Path, tmp_path: Path, outcome: Outcome, advantage: str
) -> None:
    phase = {
        **ONE,
        "steps": 2,
        "advantage": advantage,
        "shares": {"harmful": 1, "lookalike": 0, "ordinary": 0},
    }
    trainer = make_trainer(make_recipe(tiny_folder, tmp_path, [phase]), SameJudge(outcome))
    before = weights(trainer)
    progress = trainer.train()
    assert (progress.step, progress.skipped, progress.updates) == (2, 2, 0)
    assert same(weights(trainer), before)
    for row in metrics(tmp_path):
        assert (row["skipped"], row["updates"], row["loss"]) == (1, 0, None)
        assert row["groups_without_signal"] == 1


class SomeUnscored(ParityJudge):
    """Fails on every second response."""

    def __init__(self) -> None:
        self.calls = 0

    def judge(self, request: str, response: str) -> Verdict:
        self.calls += 1
        if self.calls % 2:
            return Verdict(Outcome.UNSCORED, None, "failed", self.name)
        return super().judge(request, response)


def test_an_unscored_rollout_takes_no_part_in_an_update(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(make_recipe(tiny_folder, tmp_path, [ONE]), SomeUnscored())
    trainer.train()
    table = pq.read_table(tmp_path / "rollouts").to_pandas()
    scored = table[table["reward"].notna()].groupby("step")["tokens"].sum()
    assert table["reward"].isna().mean() == 0.5
    learnt = {r["step"]: r["update_tokens"] for r in metrics(tmp_path) if r["updates"]}
    assert learnt
    assert learnt == {step: scored[step] for step in learnt}


@pytest.mark.parametrize(
    ("schedule", "warmup", "factors"),
    [
        ("constant", 0.0, [1, 1, 1, 1]),
        ("constant", 0.5, [1 / 3, 2 / 3, 1, 1]),
        ("linear", 0.0, [1, 0.75, 0.5, 0.25]),
        ("cosine", 0.0, [0.5 * (1 + cos(pi * i / 4)) for i in range(4)]),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    tiny_folder: Path, tmp_path: Path, schedule: str, warmup: float, factors: list[float]
) -> None:
    phase = {**ONE, "schedule": schedule, "warmup": warmup, "advantage": "reward"}
    make_trainer(make_recipe(tiny_folder, tmp_path, [phase])).train()
    rates = [r["learning_rate"] for r in metrics(tmp_path)]
    assert rates == pytest.approx([1e-2 * f for f in factors])


def test_a_phase_learns_the_same_whatever_the_optimiser_saw_before(
    tiny_folder: Path, tmp_path: Path
) -> None:
    second = {**ONE, "name": "second", "steps": 2, "learning_rate": 1e-3, "kl": {"beta": 0}}
    both = make_trainer(make_recipe(tiny_folder, tmp_path / "both", phases=[ONE, second]))
    both.train()
    first = make_trainer(make_recipe(tiny_folder, tmp_path / "first", phases=[ONE]))
    first.train()
    alone = make_trainer(make_recipe(tiny_folder, tmp_path / "alone", phases=[second]))
    alone.policy.model.load_state_dict(first.policy.model.state_dict())
    alone.train()
    assert not same(weights(first), weights(alone))
    assert same(weights(both), weights(alone))


def test_a_phase_ends_with_the_mean_of_its_last_weights(tiny_folder: Path, tmp_path: Path) -> None:
    seen = []
    plain = make_trainer(make_recipe(tiny_folder, tmp_path / "plain", [ONE]))
    plain.train(lambda line, total: seen.append(weights(plain)))
    mean = make_trainer(make_recipe(tiny_folder, tmp_path / "mean", [{**ONE, "average": 0.5}]))
    mean.train()
    assert not same(seen[2], seen[3])
    for name, weight in weights(mean).items():
        torch.testing.assert_close(weight, (seen[2][name] + seen[3][name]) / 2)


def test_balance_learns_from_the_side_that_errs(tiny_folder: Path, tmp_path: Path) -> None:
    """Where all is complied with, only harmful requests go wrong: they alone are learnt from."""

    def train(name: str, **changes: Any) -> Trainer:
        phase = {**ONE, "steps": 2, "kl": {"beta": 0}, **changes}
        judge = SameJudge(Outcome.COMPLIED)
        trainer = make_trainer(make_recipe(tiny_folder, tmp_path / name, [phase]), judge)
        trainer.train()
        return trainer

    balanced = train("balanced", balance=1)
    rows = metrics(tmp_path / "balanced")
    assert [(r["harmful_weight"], r["benign_weight"]) for r in rows] == [(2, 0), (2, 0)]
    by_hand = train("hand", weights={"harmful": 2, "lookalike": 1e-30, "ordinary": 1e-30})
    assert same(weights(balanced), weights(by_hand))
    assert not same(weights(balanced), weights(train("plain")))


def test_a_phase_longer_than_estimated_ends_with_its_last_weights(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = {**ONE, "warmup": 0}
    plain = make_trainer(make_recipe(tiny_folder, tmp_path / "plain", [flat]))
    plain.train()
    monkeypatch.setattr(Trainer, "_length", staticmethod(lambda phase, per_epoch: 1))
    longer = make_trainer(make_recipe(tiny_folder, tmp_path / "longer", [flat]))
    longer.train()
    assert same(weights(plain), weights(longer))


def test_distillation_takes_no_step_on_what_earned_nothing(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """A tiny model never writes both parts, so that no rollout earns +1."""
    phase = {**ONE, "steps": 1, "loss_context": "bare", "positive_only": True}
    trainer = make_trainer(make_recipe(tiny_folder, tmp_path, [phase]))
    before = weights(trainer)
    assert trainer.train().skipped == 1
    assert same(weights(trainer), before)


def test_the_plain_path_trains_a_model_with_a_sliding_window(
    tiny_folder: Path, tmp_path: Path
) -> None:
    from cada.models.load import load_policy
    from tests.models.tiny import tiny_mistral

    policy = load_policy(str(tiny_folder))
    policy.model, policy.shared = tiny_mistral(len(policy.tokenizer)), False
    trainer = make_trainer(make_recipe(tiny_folder, tmp_path), policy=policy)
    before = weights(trainer)
    assert trainer.train().step == 5
    assert not same(weights(trainer), before)


def test_a_kind_without_requests_is_named_before_the_first_step(
    tiny_folder: Path, tmp_path: Path
) -> None:
    phases = [
        {**ONE, "shares": {"harmful": 1, "lookalike": 0, "ordinary": 0}},
        {**ONE, "name": "two", "shares": {"harmful": 0.5, "lookalike": 0.5, "ordinary": 0}},
    ]
    harmful = [r for r in requests() if r.harmful]
    trainer = make_trainer(make_recipe(tiny_folder, tmp_path, phases), asked=harmful)
    with pytest.raises(CadaError, match="no lookalike request to train on, but phase 'two'"):
        trainer.train()
    assert metrics(tmp_path) == []


@pytest.mark.usefixtures("small_files")
def test_a_disk_too_full_for_the_weights(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CadaError, match="could not be written") as error:
        make_trainer(make_recipe(tiny_folder, tmp_path)).train()
    assert "step-00000" in str(error.value)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_disk_too_full_for_the_optimiser(
    tiny_folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Adapters are small; Adam's moments are twice their size."""
    recipe = make_recipe(tiny_folder, tmp_path, [ONE], lora={"rank": 64})
    trainer = make_trainer(recipe)
    size = sum(p.numel() * 4 for p in trainer.policy.model.parameters() if p.requires_grad)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    request.getfixturevalue("small_files")
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size * 1.5), limits[1]))
    with pytest.raises(CadaError, match="could not be written") as error:
        trainer.train()
    assert "step-00001" in str(error.value)
    assert [p.name for p in (tmp_path / "checkpoints").glob("*step-*")] == ["step-00000"]
    assert trainer.sampler.folder.is_dir()  # the step's rollouts are whole, and kept
