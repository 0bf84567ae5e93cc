"""A run foreseen from its recipe, and one that is not begun because it cannot fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from cada.cli.main import app
from cada.config.load import parse_recipe
from cada.config.recipe import Recipe
from cada.errors import CadaError
from cada.pipelines import plan as planning
from cada.pipelines.align import align
from cada.pipelines.plan import Planner, check_memory, check_precision
from cada.planning.plan import Assumptions
from cada.planning.work import Rates
from cada.rollout.prompts import Prompter
from cada.training.draw import RequestStream, derive_seed
from tests.training.data import sample

RATES = Rates(1e9, 1e9, "cpu")


def recipe(tiny_folder: Path, **changes: Any) -> Recipe:
    phase = {
        "name": "reinforce",
        "steps": 3,
        "loss_context": "cases",
        "requests_per_step": 6,
        "rollouts_per_request": 2,
        "max_tokens": 12,
    } | changes.pop("phase", {})
    return parse_recipe({"model": str(tiny_folder), "phases": [phase], **changes}, "test")


def test_a_phase_is_the_first_step_as_the_trainer_draws_it(tiny_folder: Path) -> None:
    from cada.casebook.loader import load_casebook
    from cada.models.load import load_policy
    from cada.requests.sources import load_requests
    from cada.training.logprobs import forest_of
    from cada.training.samples import microbatches

    own = recipe(tiny_folder)
    found = Planner(own).plan(Assumptions(), RATES).stages[0]

    policy, casebook = load_policy(own.model), load_casebook(own.casebook)
    requests = [r for source in own.requests.train for r in load_requests(source, casebook)]
    phase = own.phases[0]
    prompter = Prompter(casebook, own.prompting, policy.tokenizer, policy.system_role)
    seed = derive_seed(own.seed, phase.name, 0)
    drawn = RequestStream(requests, own.seed).draw(phase, 0)
    prompts = [prompter.prompt(r, "cases", seed, sampling=True) for r in drawn]
    batch = [sample((5,) * 12, group=g, prompt=p) for g, p in enumerate(prompts) for _ in range(2)]
    forests = [forest_of(b)[0] for b in microbatches(batch, own.training.tokens_per_microbatch)]
    packs = {p.pack_ids for p in prompts}
    assert found.prefilled == 3 * (sum(map(len, packs)) + sum(len(p.request_ids) for p in prompts))
    assert found.prefilled_unshared == 3 * 2 * sum(len(p.ids) for p in prompts)
    assert (found.rollouts, found.sampled, found.updates) == (36, 36 * 12, 3)
    assert found.trained == 3 * sum(sum(f.lengths) for f in forests)
    assert found.trained_unshared == 3 * sum(2 * (len(p.ids) + 12) for p in prompts)


def test_time_is_operations_over_the_rate(tiny_folder: Path) -> None:
    planner = Planner(recipe(tiny_folder))
    slow = planner.plan(Assumptions(), RATES)
    fast = planner.plan(Assumptions(), Rates(4e9, 4e9, "cpu"))
    short = planner.plan(Assumptions(length=3), RATES)
    assert slow.seconds is not None
    assert fast.seconds is not None
    assert slow.seconds == pytest.approx(4 * fast.seconds)
    assert short.stages[0].sampled == slow.stages[0].sampled / 4
    assert short.memory == slow.memory  # planned for the longest completions
    assert planner.plan(Assumptions(), None).seconds is None


def test_kept_rollouts_alone_are_trained_on(tiny_folder: Path) -> None:
    distil = {"positive_only": True, "rounds": 2, "epochs": 2, "minibatch": 4, "steps": 1}
    planner = Planner(recipe(tiny_folder, phase=distil))
    all_ = planner.plan(Assumptions(kept=1.0), RATES).stages[0]
    none = planner.plan(Assumptions(kept=0.0), RATES).stages[0]
    assert (all_.rollouts, all_.updates) == (12, 2 * 3)
    assert (none.rollouts, none.updates) == (24, 2 * 1)


def test_a_run_that_cannot_fit_is_not_begun(tiny_folder: Path) -> None:
    own = recipe(tiny_folder)
    need = Planner(own).memory().peak
    check_memory(own, free=int(need / 1.2))
    with pytest.raises(CadaError, match=r"needs about .* are free") as error:
        check_memory(own, free=int(need / 1.3))
    line = str(error.value)
    assert "\n" not in line
    assert "--plan" in line
    assert "--force" in line
    assert "training." in line


class Silent:
    """A watcher that remembers the stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def measured(self, text: str, done: int, total: int) -> None: ...
    def within_step(self, what: str, done: int, total: int) -> None: ...
    def trained(self, metrics: dict[str, Any], total: int) -> None: ...


def test_align_asks_before_it_loads_or_writes(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "free_memory", lambda device: 1_000_000)
    own = recipe(tiny_folder, output=str(tmp_path / "run"))
    watcher = Silent()
    with pytest.raises(CadaError, match=r"0\.0 GB are free"):
        align(own, watcher)
    assert watcher.stages == []
    assert not (tmp_path / "run").exists()


@pytest.fixture
def deep_folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A deeper and wider model's config and tokenizer; there are no weights."""
    folder = tmp_path / "deep"
    shutil.copytree(tiny_folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"num_hidden_layers": 48, "hidden_size": 1024, "intermediate_size": 4096}
    config |= {"layer_types": None, "head_dim": 256}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def test_advice_lowers_the_peak_in_the_order_given(deep_folder: Path) -> None:
    own = recipe(deep_folder, phase={"kl": {"beta": 0.1, "reference": "phase"}})
    tight = Planner(own, free=1)
    said = tight.advice()
    assert any(s.startswith("training.activation_checkpointing=true") for s in said)
    assert any(s.startswith("training.tokens_per_microbatch=512") for s in said)
    assert any(s.startswith("lora={rank: 16}") for s in said)
    assert said[-1].startswith("All of these together do not fit")
    again = own.training.model_copy(update={"activation_checkpointing": True})
    less = tight.memory(own.model_copy(update={"training": again}))
    assert less.peak < tight.memory().peak
    assert Planner(own, free=10**15).plan(Assumptions(), None).advice == []


def test_the_command_prints_json(tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe(tiny_folder).model_dump(mode="json")), "utf-8")
    done = CliRunner().invoke(app, ["align", str(path), "--plan", "--rate", "1e9", "--json"])
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    parts = {p["name"] for p in data["memory"]["parts"]}
    assert {"weights", "optimiser", "gradients", "activations", "keys and values"} <= parts
    assert data["seconds"] == pytest.approx(sum(s["seconds"] for s in data["stages"]))
    assert data["memory"]["fits"]
    table = CliRunner().invoke(app, ["align", str(path), "--plan"])
    assert "activations" in table.stdout
    assert "It fits." in table.stdout


def test_bfloat16_needs_a_machine_that_has_it(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(tiny_folder, dtype="bfloat16", device="cpu")
    monkeypatch.setattr(planning, "has_bfloat16", lambda device: False)
    with pytest.raises(CadaError, match="cpu does not compute in bfloat16"):
        check_precision(asked)
    check_precision(recipe(tiny_folder, dtype="float32", device="cpu"))
    monkeypatch.setattr(planning, "has_bfloat16", lambda device: True)
    check_precision(asked)
    assert not Planner(asked).shape.wide
    assert Planner(recipe(tiny_folder, device="cpu")).shape.wide
    assert torch.get_default_dtype() is torch.float32
