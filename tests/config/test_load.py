"""Recipes: overrides, and one plain line for every mistake."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cada.config.load import dump_recipe, load_recipe, parse_recipe
from cada.config.recipe import Recipe
from cada.errors import CadaError

MINIMAL: dict[str, Any] = {
    "phases": [{"name": "distil", "steps": 3, "positive_only": True}, {"name": "rl", "steps": 2}]
}
MINIMAL["phases"][1] |= {"loss_context": "cases"}


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


def with_phase(**changes: Any) -> dict[str, Any]:
    return {"phases": [{"name": "p", "steps": 1, "loss_context": "cases", **changes}]}


def complaint(data: dict[str, Any]) -> str:
    with pytest.raises(CadaError) as error:
        parse_recipe(data, "mine.yaml")
    text = str(error.value)
    assert text.startswith("mine.yaml: ")
    assert "\n" not in text
    assert error.value.mend
    return text


def test_overrides_reach_every_depth(recipe_file: Path) -> None:
    recipe = load_recipe(
        recipe_file,
        [
            "seed=7",
            "model=some/model",
            "phases.0.steps=9",
            "phases.rl.kl.beta=0.5",
            "phases.1.learning_rate=3e-5",
            "training.guard.patience=4",
            "prompting={cases: 2}",
            "evaluation.modes=[none]",
            "evaluation.canary=null",
            "lora.rank=4",
        ],
    )
    assert (recipe.seed, recipe.model) == (7, "some/model")
    assert [p.steps for p in recipe.phases] == [9, 2]
    assert recipe.phases[1].kl.beta == 0.5
    assert recipe.phases[1].learning_rate == 3e-5
    assert recipe.training.guard.patience == 4
    assert recipe.prompting.cases == 2
    assert recipe.evaluation.modes == ["none"]
    assert recipe.evaluation.canary is None
    assert recipe.lora is not None
    assert recipe.lora.rank == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "key=value"),
        ("=3", "key=value"),
        ("phases.7.steps=1", "no item '7' in this list of 2"),
        ("phases.missing.steps=1", "no item 'missing'"),
        ("seed=[1", "not valid YAML"),
        ("sed=1", "unknown key 'sed'"),
        ("seed=many", "seed"),
        ("model.name=x", "model"),
    ],
)
def test_a_wrong_override(recipe_file: Path, override: str, message: str) -> None:
    with pytest.raises(CadaError) as error:
        load_recipe(recipe_file, [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.mend


@pytest.mark.parametrize(
    ("data", "key", "near"),
    [
        ({**MINIMAL, "sead": 1}, "sead", "seed"),
        (with_phase(stepps=2), "phases.0.stepps", "steps"),
        (with_phase(kl={"betta": 2}), "phases.0.kl.betta", "beta"),
        ({**MINIMAL, "training": {"guard": {"kl_limits": 1}}}, "training.guard.kl_limits", "kl_l"),
        ({**MINIMAL, "lora": {"rnk": 1}}, "lora.rnk", "rank"),
        ({**MINIMAL, "requests": {"train": [{"pth": "x"}]}}, "requests.train.0.pth", "path"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(
    data: dict[str, Any], key: str, near: str
) -> None:
    text = complaint(data)
    assert f"unknown key {key!r}" in text
    assert f"Did you mean '{near}" in text


def test_an_unknown_key_like_no_other_is_answered_with_all() -> None:
    text = complaint({**MINIMAL, "zzzz": 1})
    assert all(name in text for name in Recipe.model_fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minibatch": 100, "ratio_clip": 2}, "minibatch 100 does not divide the batch of 256"),
        (
            {"shares": {"harmful": 0.5, "lookalike": 0.5, "ordinary": 0.5}},
            "add up to 1.5 and must give 1",
        ),
        ({"loss_context": "bare"}, "set positive_only: true or ratio_clip"),
        ({"top_p": 0.9}, "set positive_only: true or ratio_clip"),
        ({"epochs": 2}, "set positive_only: true or ratio_clip"),
        ({"minibatch": 64}, "set positive_only: true or ratio_clip"),
        (
            {"loss_context": "bare", "ratio_clip": 2, "kl": {"estimator": "k3"}},
            "kl.estimator k3 needs on-policy tokens",
        ),
        (
            {"positive_only": True, "kl": {"estimator": "k1"}},
            "kl.estimator k1 needs on-policy tokens",
        ),
        ({"kl": {"estimator": "k2", "place": "reward"}}, "kl.place `reward` takes"),
        ({"advantage": "group", "rollouts_per_request": 1}, "needs rollouts_per_request of 2"),
        ({"advantage": "leave_one_out", "rollouts_per_request": 1}, "rollouts_per_request of 2"),
        ({"rounds": 2}, "rounds acts in distillation alone: set positive_only"),
        ({"keep_per_request": 1}, "keep_per_request acts in distillation alone"),
        ({"verdict_weight": 4}, "verdict_weight needs prompting.verdict: true"),
        ({"verdict_credit": "verdict"}, "verdict_credit needs prompting.verdict: true"),
        (
            {"verdict_credit": "verdict", "positive_only": True},
            "distillation keeps right verdicts alone",
        ),
        ({"tell_verdict": True}, "tell_verdict acts in distillation alone"),
        ({"tell_verdict": True, "positive_only": True}, "set rounds to 2 or more"),
        (
            {"tell_verdict": True, "positive_only": True, "rounds": 2},
            "tell_verdict needs prompting.verdict: true",
        ),
        ({"weights": {"harmful": 0}}, "phases.0.weights.harmful"),
        ({"balance": 1, "positive_only": True}, "distillation learns from no error"),
        (
            {"balance": 1, "shares": {"harmful": 1, "lookalike": 0, "ordinary": 0}},
            "balance needs harmful and harmless requests",
        ),
        ({"steps": 0}, "phases.0.steps"),
        ({"temperature": 0}, "phases.0.temperature"),
        ({"rollout_mode": "case"}, "phases.0.rollout_mode"),
        ({"learning_rate": -1}, "phases.0.learning_rate"),
        ({"kl": {"beta": -1}}, "phases.0.kl.beta"),
    ],
)
def test_an_impossible_phase(changes: dict[str, Any], message: str) -> None:
    assert message in complaint(with_phase(**changes))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "phases"),
        ({"phases": []}, "phases"),
        (
            {"phases": [*with_phase()["phases"], *with_phase()["phases"]]},
            "two phases share a name",
        ),
        ({**MINIMAL, "prompting": {"refuse_share": 1.5}}, "refuse_share lies between 0 and 1"),
        ({**MINIMAL, "seed": -1}, "seed"),
        ({**MINIMAL, "lora": {"per_phase": True}, "merge_lora": False}, "needs merge_lora: true"),
        (
            {**MINIMAL, "requests": {"train": [{}]}},
            "exactly one of embedded, benchmark, path and hub",
        ),
    ],
)
def test_an_impossible_recipe(data: dict[str, Any], message: str) -> None:
    assert message in complaint(data)


def test_several_mistakes_are_counted() -> None:
    assert "(1 more)" in complaint({**MINIMAL, "seed": -1, "threads": 0})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kl": {"estimator": "k3"}},
        {"loss_context": "bare", "rollout_mode": "none", "kl": {"estimator": "k3"}},
        {"loss_context": "bare", "ratio_clip": 2.0},
        {"loss_context": "bare", "positive_only": True},
        {"minibatch": 64, "ratio_clip": 2.0},
        {"positive_only": True, "minibatch": 100},
        {"kl": {"estimator": "k1", "place": "reward"}},
    ],
)
def test_a_possible_phase(changes: dict[str, Any]) -> None:
    assert parse_recipe(with_phase(**changes), "mine.yaml").phases[0].name == "p"


def test_broken_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("seed: 1\nphases:\n  - name: [x\nmodel: y\n")
    with pytest.raises(CadaError, match="not valid YAML") as error:
        load_recipe(path)
    assert error.value.where == f"{path}, line 4"


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "only words"])
def test_a_recipe_is_a_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.yaml"
    path.write_text(text)
    with pytest.raises(CadaError, match="a recipe is a mapping"):
        load_recipe(path)


def test_a_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match="no such recipe"):
        load_recipe(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["folder", "latin.yaml"])
def test_an_unreadable_recipe(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin.yaml").write_bytes("model: é\n".encode("latin-1"))
    with pytest.raises(CadaError, match="cannot be read"):
        load_recipe(tmp_path / name)


def test_a_dumped_recipe_reads_back_the_same(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, ["lora.rank=4", "prompting.refuse_share=matched"])
    written = tmp_path / "config.yaml"
    written.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(written) == recipe
    assert set(yaml.safe_load(written.read_text())) == set(Recipe.model_fields)


SHIPPED = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_recipe_is_possible(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.phases


def test_recipes_are_read_without_torch() -> None:
    code = (
        "import sys, cada.config.load; print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_key_given_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("seed: 1\nseed: 2\nphases: [{name: a, steps: 1}]\n", encoding="utf-8")
    with pytest.raises(CadaError, match=r"line 2.*'seed' is given twice"):
        load_recipe(path)


def test_k1_in_the_loss_is_refused() -> None:
    phase = {"name": "a", "steps": 1, "loss_context": "cases", "kl": {"estimator": "k1"}}
    with pytest.raises(CadaError, match="gradient of mean zero"):
        parse_recipe({"phases": [phase]}, "here")
