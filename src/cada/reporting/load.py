"""Read a run's folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cada.config.baseline import Baseline
from cada.config.phase import phase_of
from cada.errors import CadaError
from cada.evaluation.answers import Answer, read_answers
from cada.files import read_json_lines

LABELS = ("before", "after")
_ROW_FIELDS = ("model", "benchmark", "mode", "metric", "value", "ci_low", "ci_high", "n")


@dataclass(frozen=True)
class RunData:
    """What a finished run left in its folder.

    `config` is the resolved recipe, `metrics` holds a dict a training step, `evaluation` is
    `evaluation.json` as it stands (its `rows` have the model `before` or `after`).
    """

    folder: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    metrics: list[dict[str, Any]]
    evaluation: dict[str, Any]
    before: tuple[Answer, ...]
    after: tuple[Answer, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of `evaluation.json`."""
        found: list[dict[str, Any]] = self.evaluation["rows"]
        return found

    @property
    def phases(self) -> list[dict[str, Any]]:
        """The recipe's phases; a baseline is one that it amounts to."""
        if self.baseline:
            return [phase_of(Baseline.model_validate(self.baseline)).model_dump(mode="json")]
        found: list[dict[str, Any]] = self.config["phases"]
        return found

    @property
    def baseline(self) -> dict[str, Any] | None:
        """The recipe's baseline, where it has no phases."""
        found: dict[str, Any] | None = self.config.get("baseline")
        return found

    @property
    def main_mode(self) -> str:
        """The mode that a user meets: the bare request, or else the first one measured."""
        modes = [str(row["mode"]) for row in self.rows if row["benchmark"] != "canary"]
        return "none" if "none" in modes or not modes else modes[0]

    @property
    def stopped(self) -> str | None:
        """Why the guard ended the training, or None."""
        last = self.metrics[-1].get("stopped") if self.metrics else None
        return last or self.evaluation.get("stopped")


def load_run(folder: Path) -> RunData:
    """Read the folder of a finished run. The metrics and the answers may be missing or empty.

    Raises:
        CadaError: the folder is no finished run of `cada align`, or one of its files is damaged.
    """
    for name in ("config.yaml", "evaluation.json"):
        if not (folder / name).is_file():
            raise CadaError(
                f"the folder is no finished run: there is no {name}",
                where=str(folder),
                mend="Give the output folder of a `cada align` that has ended",
            )
    return RunData(
        folder,
        _config(folder / "config.yaml"),
        _json(folder / "environment.json") if (folder / "environment.json").is_file() else {},
        read_json_lines(folder / "metrics.jsonl"),
        _evaluation(folder / "evaluation.json"),
        tuple(read_answers(folder / "answers-before.jsonl")),
        tuple(read_answers(folder / "answers-after.jsonl")),
    )


def read_settings(path: Path) -> dict[str, Any]:
    """The `config.yaml` of a run.

    Raises:
        CadaError: it is damaged.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _damaged(path, "it is no YAML") from error
    return dict(data) if isinstance(data, dict) else {}


def read_evaluation(path: Path) -> dict[str, Any]:
    """An `evaluation.json`, whose rows have every field that is read.

    Raises:
        CadaError: it is damaged.
    """
    data = _json(path)
    rows = data.get("rows")
    if not isinstance(rows, list):
        raise _damaged(path, "it holds no rows")
    for row in rows:
        missing = [f for f in _ROW_FIELDS if not isinstance(row, dict) or f not in row]
        if missing:
            raise _damaged(path, f"a row has no {missing[0]}")
    return data


def _config(path: Path) -> dict[str, Any]:
    data = read_settings(path)
    if data.get("baseline"):
        try:
            Baseline.model_validate(data["baseline"])
        except ValidationError as error:
            raise _damaged(path, "its baseline is not one of this version") from error
        return data
    phases = data.get("phases")
    if not phases or not isinstance(phases, list) or not all(isinstance(p, dict) for p in phases):
        raise _damaged(path, "it holds no recipe with phases")
    return data


def _evaluation(path: Path) -> dict[str, Any]:
    data = read_evaluation(path)
    if not any(row["model"] in LABELS for row in data["rows"]):
        raise CadaError(
            "no row belongs to a model called `before` or `after`",
            where=str(path),
            mend="Give the output folder of `cada align`, not of `cada evaluate`",
        )
    return data


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, "it is no JSON") from error
    if not isinstance(data, dict):
        raise _damaged(path, "it holds no JSON object")
    return data


def _damaged(path: Path, what: str) -> CadaError:
    return CadaError(
        f"the file cannot be used: {what}", where=str(path), mend="Run the recipe again elsewhere"
    )
