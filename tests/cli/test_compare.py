"""`cada compare` as a user runs it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cada.cli.main import app
from cada.errors import CadaError
from tests.reporting.runs import answers, good_after, good_before, write_evaluation, write_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        write_evaluation(tmp_path / name, answers(outcomes))
        for name, outcomes in (("base", good_before), ("tuned", good_after))
    ]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_form_of_the_table_is_written(runs: list[Path], tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("ab.html", "ab.md", "ab.tex")]
    text = run(*runs, "--out", files[0], "--markdown", files[1], "--latex", files[2])
    assert "10.0 (2.8–30.1)" in text
    assert str(files[0]) in text.replace("\n", "")
    for file, part in zip(files, ("<!doctype html>", "| set |", r"\toprule"), strict=True):
        assert part in file.read_text(encoding="utf-8")


def test_rows_for_machines(runs: list[Path], tmp_path: Path) -> None:
    held = json.loads(run(*runs, "--out", tmp_path / "ab.html", "--json"))
    assert [m["name"] for m in held["models"]] == ["base", "tuned"]
    assert held["judge"] == "rules"
    first, second = [r for r in held["rows"] if r["metric"] == "asr"]
    assert (first["value"], first["difference"], first["p"]) == (1.0, None, None)
    assert second["value"] == 0.1
    assert second["difference"] == -0.9
    assert second["ci_low"] < 0.1 < second["ci_high"]
    assert second["difference_low"] < -0.9 < second["difference_high"]
    assert (second["n"], second["n_pairs"]) == (20, 20)
    assert second["p"] < second["p_corrected"] < 0.001


def test_before_and_after_of_one_run_stand_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    assert "report.html" in run("demo")
    assert "before" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_nothing_is_written_for_runs_that_cannot_be_compared(
    runs: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "ab.html"
    write_evaluation(runs[1], answers(good_after), judge="another")
    with pytest.raises(CadaError, match="judged by rules and 'tuned' by another"):
        run(*runs, "--out", out)
    assert not out.exists()


def test_help_has_an_example() -> None:
    assert "Example: cada compare runs/demo" in run("--help")
