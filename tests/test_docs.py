"""Every command in the docs is one that cada takes; those that need no model are run."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from cada.cli.main import app
from cada.config.load import load_recipe
from cada.config.study import load_study
from cada.pipelines.study_grid import check_budget
from cada.reporting.study.record import read_record
from tests.command import here
from tests.reporting.runs import answers, good_after, good_before, write_evaluation, write_run

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS_A_MODEL = ("evaluate", "chat", "utility", "export")


def commands(pages: list[Path] = PAGES) -> list[list[str]]:
    """The arguments of each `$ cada …` line, with continued lines joined, in order."""
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            if line.startswith("$ cada "):
                found.append(shlex.split(line[2:], comments=True)[1:])
    return found


def slow(arguments: list[str]) -> bool:
    trains = arguments[0] == "align" and "--show" not in arguments
    builds = arguments[:2] == ["requests", "build"]
    fetches = builds and arguments[2].startswith(("-", "hub:"))
    attacks = arguments[:2] == ["attack", "build"] and "--attacker" in arguments
    studies = arguments[0] == "study" and "--dry-run" not in arguments
    return trains or fetches or attacks or studies or arguments[0] in NEEDS_A_MODEL


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_a_command_in_the_docs_is_understood(arguments: list[str]) -> None:
    command = typer.main.get_command(app)
    rest = arguments
    while hasattr(command, "commands"):
        assert rest[0] in command.commands, f"no command {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(arguments[0], list(rest))


def test_the_commands_that_need_no_model_run_in_order(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    for folder in ("recipes", "examples"):
        (tmp_path / "here" / folder).symlink_to(ROOT / folder)
    runs = tmp_path / "here" / "runs"
    write_run(runs / "demo")
    for name, outcomes in (("base", good_before), ("tuned", good_after)):
        write_evaluation(runs / name, answers(outcomes))
    shared = ROOT.parent / "shared"
    if shared.exists():
        (tmp_path / "shared").symlink_to(shared)
    ran = 0
    for arguments in commands():
        if slow(arguments) or (not shared.exists() and any("../shared" in a for a in arguments)):
            continue
        done = here(*arguments, cwd=tmp_path / "here")
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        ran += 1
    assert ran >= 5


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_loads_and_opens_with_its_command(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    head = [line for line in text.splitlines() if line.startswith("# cada ")]
    # what is too large for one process is exported
    assert re.match(rf"# cada (align|export verl) recipes/{path.name}\b", head[0])
    load_recipe(path)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes/study").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_study_loads_and_opens_with_its_command(path: Path) -> None:
    assert path.read_text("utf-8").startswith(f"# cada study recipes/study/{path.name}\n")
    study = load_study(path)
    check_budget(study, [name for name, cell in study.cells.items() if cell is not None])


def test_the_recommended_recipe_is_what_the_study_chose() -> None:
    study = load_study(ROOT / "recipes/study/smollm2.yaml")
    cell = read_record(ROOT / "docs/smollm2-study/study.json").cells["recommended"]
    assert cell.chosen is not None
    measured = study.recipe("recommended", cell.candidates[cell.chosen].changes)
    shipped = load_recipe(ROOT / "recipes/recommended.yaml")
    assert shipped.phases == measured.phases
    for part in ("model", "prompting", "reward", "judge", "merge_lora"):
        assert getattr(shipped, part) == getattr(measured, part)
    assert shipped.lora is not None
    assert measured.lora is not None
    # With one phase, adapters for each phase are one pair.
    assert shipped.lora.model_dump() == measured.lora.model_dump() | {"per_phase": False}


@pytest.mark.slow
def test_the_studys_page_runs_on_a_tiny_model(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if find_spec("trl") is None:
        pytest.skip("TRL is not installed")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    small = [f"base.model={tiny_folder}", "base.threads=1", "evaluation.max_tokens=4"]
    small += ["evaluation.canary=null"]
    small += ["evaluation.sets.0.limit=9", "base.phases.0.max_tokens=4", "seeds=[0]", "budget=null"]
    small += ["base.phases.0.requests_per_step=4", "cells.sft_dr.changes.baseline.requests=4"]
    asked = commands([ROOT / "docs" / "study.md"])
    assert len(asked) == 8
    for arguments in asked:
        grid = arguments[0] == "study" and not {"--tables", "--join"} & set(arguments)
        own = small if grid else []
        app([*arguments[:2], *own, *arguments[2:]], standalone_mode=False)
        assert "failed" not in capsys.readouterr().out
    study = tmp_path / "runs/study-demo"
    again = (tmp_path / "runs/again/evaluation.json").read_text("utf-8")
    assert again == (study / "cells/distil/seed-0/evaluation.json").read_text("utf-8")
