"""`cada utility` as a user runs it, without a network."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cada.cli.main import app
from cada.errors import CadaError
from tests.evaluation.utility import files


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"a connection was tried: {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["utility", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(*arguments: object) -> str:
    with pytest.raises(CadaError) as caught:
        CliRunner().invoke(app, ["utility", *map(str, arguments)], catch_exceptions=False)
    return str(caught.value)


def test_all_three_from_a_folder(tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--data", data, "--limit", 3, "--max-tokens", 4, "--out", out)
    found = json.loads(run(tiny_folder, *options, "--json"))
    assert found == json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    metrics = {(r["benchmark"], r["metric"]): r for r in found["rows"]}
    generated = ("exact_match,strict-match", "exact_match,flexible-extract", "truncated")
    assert set(metrics) == {
        *(("gsm8k", metric) for metric in generated),
        *(("bbh", metric) for metric in generated),
        ("mmlu", "acc"),
    }
    assert {r["n"] for r in found["rows"]} == {3}
    assert all(r["ci_low"] <= r["value"] <= r["ci_high"] for r in found["rows"])
    assert metrics["gsm8k", "truncated"]["value"] == 1
    assert [s["n"] for s in found["subtasks"]] == [3, *[1] * 3, *[1] * 3]
    items = [json.loads(line) for line in (out / "items-mmlu.jsonl").open(encoding="utf-8")]
    assert [len(item["answer"]) for item in items] == [4, 4, 4]
    right = [item["answer"].index(max(item["answer"])) == int(item["target"]) for item in items]
    assert metrics["mmlu", "acc"]["value"] == pytest.approx(sum(right) / 3)
    assert "acc" in run(tiny_folder, *options)


def test_a_killed_measurement_goes_on(
    tiny_folder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cada.evaluation.utility.lm._ROWS", 1)
    out = tmp_path / "out"
    options = ("--task", "gsm8k", "--data", data, "--max-tokens", 4, "--out", out, "--json")
    first = run(tiny_folder, *options)
    lines = (out / "responses.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) == 4
    (out / "responses.jsonl").write_text("".join(lines[:2]) + lines[2][:30], encoding="utf-8")
    (out / "evaluation.json").unlink()
    assert run(tiny_folder, *options) == first
    assert (out / "responses.jsonl").read_text(encoding="utf-8") == "".join(lines)
    assert "differs in max_tokens" in fails(tiny_folder, *options, "--max-tokens", 5)


def test_other_folders_are_left_alone(tiny_folder: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    text = fails(tiny_folder, "--task", "gsm8k", "--data", data, "--out", tmp_path)
    assert "is not a measurement of utility" in text


def test_files_are_looked_for_before_anything_is_done(tiny_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = fails(tiny_folder, "--data", tmp_path, "--out", out)
    assert "gsm8k/train.jsonl" in text
    assert "--data expects" in text
    assert not out.exists()


def test_a_missing_extra_is_named(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert "pip install 'cada-align[eval]'" in fails(tiny_folder)
