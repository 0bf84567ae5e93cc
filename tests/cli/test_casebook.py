import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cada.casebook.loader import load_casebook
from cada.casebook.schema import Casebook
from cada.cli.casebook import app
from cada.errors import CadaError


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_check_counts_hazards_and_cases() -> None:
    assert "default 1.0.0 is fine: 12 hazards, 74 cases (37 refuse, 37 comply)." in _run("check")


def test_check_prints_json() -> None:
    summary = json.loads(_run("check", "--json"))
    assert summary["hazards"] == 12
    assert summary["refuse"] == summary["comply"] == 37
    assert summary["notes"] == []


def test_check_notes_what_is_rarely_meant(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    _run("new", str(folder))
    hazard = folder / "01_risky_medicine.yaml"
    hazard.write_text(hazard.read_text().replace("kind: comply", "kind: refuse"))
    assert json.loads(_run("check", str(folder), "--json"))["notes"] == [
        "'risky_medicine' has no comply case"
    ]
    assert "Note: 'risky_medicine' has no comply case" in _run("check", str(folder))


def test_check_raises_the_loaders_error(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match="there is no such file"):
        _run("check", str(tmp_path / "nowhere.yaml"))


def test_show_lists_every_hazard_with_its_counts() -> None:
    page = _run("show")
    casebook = load_casebook("default")
    for hazard in casebook.hazards:
        assert hazard.id in page
    assert f"Code, {len(casebook.code.split())} words" in page


def test_show_one_hazard_in_full() -> None:
    page = " ".join(_run("show", "--hazard", "privacy").split())
    hazard = load_casebook("default").hazard("privacy")
    for text in (hazard.code.short, *hazard.code.rules, *hazard.code.examples):
        assert text in page
    for case in hazard.cases:
        assert f"{case.id} ({case.kind})" in page
        assert f"Request: {case.request}" in page
        assert f"Reasoning: {case.reasoning}" in page
        assert f"Response: {case.response}" in page


def test_show_json_is_the_casebook() -> None:
    assert Casebook.model_validate_json(_run("show", "--json")) == load_casebook("default")
    hazard = json.loads(_run("show", "--hazard", "privacy", "--json"))
    assert hazard["id"] == "privacy"


def test_show_prints_a_casebooks_brackets_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    _run("new", str(folder))
    hazard = folder / "01_risky_medicine.yaml"
    hazard.write_text(hazard.read_text().replace("Risky medicine", "[bold]Risky[/bold]"))
    assert "[bold]Risky[/bold]" in _run("show", str(folder), "--hazard", "risky_medicine")


def test_show_an_unknown_hazard_is_told() -> None:
    with pytest.raises(CadaError, match=r"no hazard 'gossip'\. Use one of: violent_crimes"):
        _run("show", "--hazard", "gossip")


def test_new_writes_a_casebook_that_passes_check(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "mine"
    assert str(folder) in _run("new", str(folder)).replace("\n", "")
    summary = json.loads(_run("check", str(folder), "--json"))
    assert summary["refuse"] == summary["comply"] == 2
    assert summary["notes"] == []


def test_new_does_not_overwrite(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("keep me")
    with pytest.raises(CadaError, match="exists already and is not overwritten"):
        _run("new", str(folder))
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]


def test_new_wants_a_folder_name(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match="a new casebook is a folder"):
        _run("new", str(tmp_path / "mine.yaml"))
    assert list(tmp_path.iterdir()) == []
