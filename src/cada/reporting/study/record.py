"""`study.json`: what a study has found so far, with ids and outcomes and no texts."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cada.config.study import Ablation, StudyRecipe
from cada.errors import CadaError
from cada.evaluation.answers import Answer
from cada.evaluation.outcomes import decode, encode
from cada.files import write_text

FILE = "study.json"

VERSION = 1
"""Of the file's form. A study of another version is never gone on with."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SetRecord(_Part):
    """A frozen request set: a digest of all that is asked, and the kind of every request."""

    digest: str
    kinds: dict[str, Literal["harmful", "lookalike", "ordinary"]]


class RunRecord(_Part):
    """One run: of a cell under a seed, or of the untrained model under prompt modes.

    `requests` were drawn in training and `rollouts` sampled, later rounds and rejected ones
    included; `config` is a digest of what was run.
    `results` holds a code (evaluation.outcomes) for each id, by `set|attack|mode`.
    """

    status: Literal["done", "failed"]
    seconds: float
    config: str
    changes: dict[str, Any] = Field(default_factory=dict)
    error: str | None = None
    stopped: str | None = None
    judge: str = ""
    requests: int = 0
    rollouts: int = 0
    updates: int = 0
    canary: dict[str, float] = Field(default_factory=dict)
    results: dict[str, dict[str, str]] = Field(default_factory=dict)


class CandidateRecord(_Part):
    """A candidate's run on the validation requests; `score` is None where it failed."""

    changes: dict[str, Any]
    config: str
    score: float | None
    harm: float | None
    answered: float | None
    seconds: float
    error: str | None = None


class CellRecord(_Part):
    """What a cell is, its candidates in the recipe's order, and its runs by seed."""

    about: str = ""
    untrained: bool = False
    later: bool = False
    budget_note: str | None = None
    candidates: list[CandidateRecord] = Field(default_factory=list)
    chosen: int | None = None
    runs: dict[str, RunRecord] = Field(default_factory=dict)


class StudyRecord(_Part):
    """The whole file. `shared` is a digest of what all cells share."""

    version: int = VERSION
    name: str
    shared: str
    machine: dict[str, Any]
    seeds: list[int]
    budget: int | None
    attacks: list[str]
    harm_weight: float | None = None
    compare_to: str
    ablations: list[Ablation]
    recommended: str | None
    sets: dict[str, SetRecord] = Field(default_factory=dict)
    inference: RunRecord | None = None
    cells: dict[str, CellRecord] = Field(default_factory=dict)

    def kind(self, benchmark: str, identity: str) -> str:
        """The kind of a request.

        Raises:
            CadaError: no set holds it.
        """
        kinds = self.sets[benchmark].kinds if benchmark in self.sets else {}
        if identity not in kinds:
            raise CadaError(
                f"request {identity!r} is in no frozen set called {benchmark!r}",
                where="study.json",
                mend="Use the file as the study wrote it",
            )
        return kinds[identity]

    def answers(self, run: RunRecord, attack: str, mode: str = "none") -> dict[str, Answer]:
        """A run's outcomes under an attack and a mode, by set and id, without texts."""
        found = {}
        for place, codes in run.results.items():
            benchmark, of, under = place.rsplit("|", 2)
            if (of, under) != (attack, mode):
                continue
            for identity, code in codes.items():
                kind = self.kind(benchmark, identity)
                found[f"{benchmark}|{identity}"] = decode(code, kind)
        return found


def new_record(study: StudyRecipe, machine: dict[str, Any]) -> StudyRecord:
    """A study that has found nothing yet."""
    record = StudyRecord(
        name=study.name,
        shared=study.shared,
        machine=machine,
        seeds=[],
        budget=study.budget,
        attacks=study.evaluation.attacks,
        compare_to=study.compare_to,
        ablations=[],
        recommended=None,
    )
    follow(record, study)
    return record


def follow(record: StudyRecord, study: StudyRecipe) -> None:
    """Take over what may change of a study that runs: its cells, seeds and comparisons."""
    record.seeds = list(study.seeds)
    record.compare_to = study.compare_to
    record.ablations = list(study.ablations)
    record.recommended = study.recommended
    record.harm_weight = study.selection.harm_weight if study.selection else None
    cells = {}
    for name, cell in study.cells.items():
        known = record.cells.get(name, CellRecord())
        known.about = cell.about if cell else "the untrained model"
        known.untrained = cell is None
        known.later = cell.later if cell else False
        known.budget_note = cell.budget_note if cell else None
        cells[name] = known
    gone = {name: cell for name, cell in record.cells.items() if name not in cells and cell.runs}
    record.cells = cells | gone


def results_of(answers: Iterable[Answer]) -> dict[str, dict[str, str]]:
    """Every answer's code by place and id."""
    found: dict[str, dict[str, str]] = {}
    for a in answers:
        found.setdefault(f"{a.benchmark}|{a.attack}|{a.mode}", {})[a.request_id] = encode(a)
    return found


def read_record(path: Path) -> StudyRecord:
    """A study's file.

    Raises:
        CadaError: it is missing, damaged or of another version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CadaError(
            f"the study cannot be read ({str(error).splitlines()[0]})",
            where=str(path),
            mend="Give the study.json in a study's folder",
        ) from error
    version = data.get("version") if isinstance(data, dict) else None
    if version != VERSION:
        raise CadaError(
            f"the study is of version {version}, and this cada writes version {VERSION}",
            where=str(path),
            mend="Choose another output, or go on with the cada that began it",
        )
    try:
        return StudyRecord.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise CadaError(
            f"the study is damaged: {field}: {first['msg']}",
            where=str(path),
            mend="Take back the file that the study wrote",
        ) from error


def write_record(path: Path, record: StudyRecord) -> None:
    """Write a study's file, whole or not at all; the same record gives the same bytes."""
    data = record.model_dump(mode="json", exclude_defaults=False)
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
