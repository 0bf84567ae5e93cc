"""What is exported, what is refused, and what is told."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cada.cli.main import app
from cada.config.load import dump_recipe, load_recipe
from cada.errors import CadaError
from cada.export.plan import Trainer
from cada.files import read_json_lines
from cada.pipelines.export import export
from tests.export.exports import load, recipe, started_with

ALL = list(Trainer)
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"positive_only": True, "loss_context": "bare"}, "distils"),
    ({"loss_context": "bare", "ratio_clip": 2}, "takes its loss where it samples"),
    ({"advantage": "reward"}, "always centres"),
    ({"minibatch": 2, "ratio_clip": 2}, "cuts groups"),
]


@pytest.mark.parametrize("trainer", ALL)
@pytest.mark.parametrize(("change", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_what_would_train_something_else_is_refused(
    trainer: Trainer, change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(CadaError, match=told):
        export(recipe("some/model", [change]), trainer, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_trl_needs_a_group(tmp_path: Path, tiny_folder: Path) -> None:
    one = recipe(tiny_folder, [{"rollouts_per_request": 1, "advantage": "batch"}])
    with pytest.raises(CadaError, match="one rollout is no group"):
        export(one, Trainer.TRL, tmp_path / "out")
    assert export(one, Trainer.VERL, tmp_path / "out").n_train == 8


def test_a_model_that_no_trainer_loads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match="builtin:smollm2-135m is neither"):
        export(recipe("builtin:smollm2-135m"), Trainer.VERL, tmp_path / "out")


def test_a_folder_that_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match="tokenizer cannot be read"):
        export(recipe(tmp_path / "nowhere"), Trainer.TRL, tmp_path / "out")


def test_one_of_several_phases_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    two = recipe(tiny_folder, [{"name": "first"}, {"name": "second", "steps": 1}])
    with pytest.raises(CadaError, match="--phase: first, second"):
        export(two, Trainer.TRL, tmp_path / "out")
    with pytest.raises(CadaError, match="no phase 'third'"):
        export(two, Trainer.TRL, tmp_path / "out", "third")
    done = export(two, Trainer.TRL, tmp_path / "out", "second")
    assert done.n_train == 4
    assert any("the phase follows first" in warning for warning in done.warnings)
    assert any("reference will be the model" in warning for warning in done.warnings)


@pytest.mark.parametrize("trainer", ALL)
def test_an_export_replaces_its_own_kind_and_nothing_else(
    trainer: Trainer, tiny_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(recipe(tiny_folder), trainer, out)
    export(recipe(tiny_folder, [{"steps": 1}]), trainer, out)
    assert json.loads((out / "export.json").read_text())["train"] == 4
    other = next(each for each in ALL if each is not trainer)
    with pytest.raises(CadaError, match="holds something else"):
        export(recipe(tiny_folder), other, out)
    (out / "checkpoint").mkdir()
    with pytest.raises(CadaError, match=r"holds something else \(checkpoint\)"):
        export(recipe(tiny_folder), trainer, out)
    assert (out / "checkpoint").is_dir()


def test_a_file_in_the_way_is_left_alone(tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    with pytest.raises(CadaError, match="holds something else"):
        export(recipe(tiny_folder), Trainer.VERL, out)
    assert out.read_text() == "mine"


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_leaves_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    long = recipe(tiny_folder, [{"steps": 200}])
    with pytest.raises(CadaError, match="could not be written"):
        export(long, Trainer.TRL, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_recipe_in_an_export_is_the_whole_recipe(tiny_folder: Path, tmp_path: Path) -> None:
    wanted = recipe(tiny_folder, judge="refusal")
    export(wanted, Trainer.TRL, tmp_path / "out")
    assert load_recipe(tmp_path / "out" / "recipe.yaml") == wanted


WARNED: list[tuple[dict[str, Any], Trainer, str]] = [
    ({"opening_weight": 2}, Trainer.VERL, "opening_weight is left out"),
    ({"average": 0.5}, Trainer.VERL, "ends with its last weights"),
    ({"balance": 1}, Trainer.VERL, "harmful and harmless requests count the same"),
    ({"weights": {"lookalike": 2}}, Trainer.TRL, "harmful and harmless requests count the same"),
    ({"kl": {"beta": 0.02}}, Trainer.VERL, "not summed over the vocabulary"),
    ({"kl": {"beta": 0.02}}, Trainer.TRL, "not differentiated in the loss"),
    ({"advantage": "batch"}, Trainer.VERL, "not of the batch"),
    ({"advantage": "batch"}, Trainer.TRL, "not of the batch"),
    ({"advantage": "batch", "rollouts_per_request": 1}, Trainer.VERL, "standard deviation"),
    ({"advantage": "group"}, Trainer.TRL, "times as large"),
    ({"schedule": "linear"}, Trainer.VERL, "cosine"),
    ({"minibatch": 8, "ratio_clip": 2}, Trainer.TRL, "not truncated token by token at 2"),
    ({"minibatch": 8, "ratio_clip": 2}, Trainer.OPENRLHF, "not truncated at 2"),
    ({"loss_aggregation": "sequence_sum"}, Trainer.OPENRLHF, "mean over tokens"),
    ({"loss_aggregation": "token_mean"}, Trainer.TRL, "sums over a completion's tokens"),
    ({"top_p": 0.9, "ratio_clip": 2}, Trainer.VERL, "the sampler is not the policy"),
]
PLAIN = {"kl": {"beta": 0}, "loss_aggregation": "sequence_sum"}


@pytest.mark.parametrize(("change", "trainer", "told"), WARNED)
def test_what_is_done_otherwise_is_told(
    change: dict[str, Any], trainer: Trainer, told: str, tiny_folder: Path, tmp_path: Path
) -> None:
    before = export(recipe(tiny_folder, [PLAIN]), trainer, tmp_path / "out")
    after = export(recipe(tiny_folder, [PLAIN | change]), trainer, tmp_path / "out")
    new = [warning for warning in after.warnings if warning not in before.warnings]
    gone_from_plain = trainer is Trainer.OPENRLHF and "loss_aggregation" in change
    told_at_all = after.warnings if gone_from_plain else new
    assert any(told in warning for warning in told_at_all)
    kept = json.loads((tmp_path / "out" / "export.json").read_text())["warnings"]
    assert kept == list(after.warnings)


def test_trl_has_nothing_to_tell_of_a_phase_that_is_its_own(
    tiny_folder: Path, tmp_path: Path
) -> None:
    own = {**PLAIN, "kl": {"beta": 0.1, "estimator": "k1", "place": "reward"}}
    assert export(recipe(tiny_folder, [own]), Trainer.TRL, tmp_path / "out").warnings == ()


def test_verl_starts_with_the_phases_settings(tiny_folder: Path, tmp_path: Path) -> None:
    change = {"minibatch": 8, "ratio_clip": 2, "epochs": 2, "temperature": 0.5, "warmup": 0.25}
    export(recipe(tiny_folder, [change]), Trainer.VERL, tmp_path / "o ut $x")
    script = tmp_path / "o ut $x" / "launch.sh"
    told = started_with(script, tmp_path, "data.seed=1", GPUS="4", MODEL="other model")
    assert told[:2] == ["-m", "verl.trainer.main_ppo"]
    assert told[-1] == "data.seed=1"
    assert {
        "data.train_batch_size=4",
        "data.shuffle=false",
        "actor_rollout_ref.rollout.n=4",
        "actor_rollout_ref.rollout.temperature=0.5",
        "actor_rollout_ref.actor.ppo_mini_batch_size=2",
        "actor_rollout_ref.actor.ppo_epochs=2",
        "actor_rollout_ref.actor.optim.lr_warmup_steps=2",
        "algorithm.rollout_correction.rollout_is_threshold=2.0",
        "trainer.n_gpus_per_node=4",
        "trainer.total_training_steps=2",
        "actor_rollout_ref.model.path='other model'",
        f"data.train_files='{script.parent}/train.parquet'",
    } <= set(told)


def test_text_of_a_recipe_is_no_command(tiny_folder: Path, tmp_path: Path) -> None:
    name = "a'b\"c\n$(touch pwned) `touch pwned` \\ }"
    wanted = recipe(tiny_folder, [{"name": name}], output=f"runs/{name}")
    export(wanted, Trainer.VERL, tmp_path / "verl")
    told = started_with(tmp_path / "verl" / "launch.sh", tmp_path)
    assert f"trainer.default_local_dir='runs/{name}-verl'" in told
    export(wanted, Trainer.TRL, tmp_path / "trl")
    source = (tmp_path / "trl" / "train.py").read_text()
    compile(source, "train.py", "exec")
    assert not list(tmp_path.rglob("pwned"))
    assert not Path("pwned").exists()


def test_a_picture_mark_is_refused_where_it_means_a_picture(
    tiny_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"text": "What does <image> mean in HTML?"}\n')
    wanted = recipe(
        tiny_folder,
        [{"shares": {"harmful": 0, "lookalike": 0, "ordinary": 1}}],
        requests={"train": [{"path": str(path), "harmful": False}]},
    )
    with pytest.raises(CadaError, match="takes <image> in a prompt for a picture"):
        export(wanted, Trainer.OPENRLHF, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export(wanted, Trainer.TRL, tmp_path / "out")


def test_openrlhf_knows_the_special_tokens(tiny_folder: Path, tmp_path: Path) -> None:
    export(recipe(tiny_folder), Trainer.OPENRLHF, tmp_path / "out")
    special = load(tmp_path / "out" / "reward.py").SPECIAL_TOKENS
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(special)


def test_validation_is_bare(tiny_folder: Path, tmp_path: Path) -> None:
    done = export(recipe(tiny_folder), Trainer.TRL, tmp_path / "out")
    rows = read_json_lines(tmp_path / "out" / "val.jsonl")
    assert len(rows) == done.n_validate
    assert all([m["content"] for m in row["prompt"]] == [row["request"]] for row in rows)


def test_the_command_tells_what_it_wrote(tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe(tiny_folder)))
    arguments = ["export", "verl", str(path), "phases.0.steps=1", "--out", str(tmp_path / "out")]
    plain = CliRunner().invoke(app, arguments)
    assert plain.exit_code == 0
    assert "4 prompts of phase 'reinforce'" in plain.output
    assert "warning: an answer that the judge cannot score counts as reward 0" in plain.output
    machine = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(machine.output)["train"] == 4
    assert CliRunner().invoke(app, ["export", "axolotl", str(path)]).exit_code == 2
