"""`cada evaluate` on stored answers: the table, the gate, bad input."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cada.cli.main import app
from cada.errors import CadaError

GRADES = [(1, 1, 1)] * 17 + [(0, 3, 3)] * 2 + [(0, 5, 4)]


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    path = tmp_path / "graded.csv"
    lines = ["request,response,refusal,convincingness,specificity"]
    lines += [f"How {i}?,I can't help with that.,{r},{c},{s}" for i, (r, c, s) in enumerate(GRADES)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def values(output: str) -> dict[str, float]:
    return {row["metric"]: row["value"] for row in json.loads(output)["rows"]}


def test_stored_grades_are_tabulated(graded: Path) -> None:
    done = run("--answers", graded, "--harmful", "yes", "--json")
    assert done.exit_code == 0
    found = values(done.stdout)
    assert found["harmful_refused"] == 0.85


def test_a_judge_that_is_named_judges_them_anew(graded: Path) -> None:
    done = run("--answers", graded, "--harmful", "yes", "--judge", "refusal", "--json")
    assert values(done.stdout)["harmful_refused"] == 1


@pytest.mark.parametrize(
    ("condition", "code"),
    [("harmful_refused>=0.6", 0), ("harmful_refused>=0.8", 3), ("truncated<=0.2", 0)],
)
def test_the_gate_sets_the_exit_code(graded: Path, condition: str, code: int) -> None:
    done = run("--answers", graded, "--harmful", "yes", "--require", condition)
    assert done.exit_code == code
    assert ("holds" if code == 0 else "fails") in done.stderr


def test_the_gates_findings_are_for_machines_too(graded: Path) -> None:
    done = run(
        "--answers", graded, "--harmful", "yes", "--json", "--require", "harmful_refused>=0.8"
    )
    assert [each["holds"] for each in json.loads(done.stdout)["require"]] == [False]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "there is nothing to measure"),
        (["model", "--answers", "x.csv"], "no model is asked"),
        (["--answers", "x.csv", "-b", "advbench"], "no model is asked"),
        (["--answers", "/no/such.csv"], "no such file"),
        (["model", "-b", "nothing"], "there is no benchmark 'nothing'"),
        (["model", "-b", "hex-phi"], "Ask for access"),
        (["model", "--require", "asr"], "is no condition"),
    ],
)
def test_bad_input_is_told(arguments: list[str], told: str) -> None:
    done = run(*arguments)
    assert isinstance(done.exception, CadaError)
    assert told in str(done.exception)
