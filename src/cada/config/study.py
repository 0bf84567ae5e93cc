"""A study's recipe: methods side by side, every one over several seeds. Imports without torch."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from cada.config.load import apply, merged, parse_recipe, read_mapping, validate
from cada.config.phase import RolloutMode
from cada.config.recipe import Recipe
from cada.config.section import Section
from cada.config.sources import RequestSource
from cada.errors import CadaError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

INFERENCE = "inference"
"""Among the cells that a call is to run: the prompt modes on the untrained model."""


class Cell(Section):
    """One method: what it changes of the base recipe."""

    about: str = Field(default="", description="What it is, in a few words, for the tables.")
    base: dict[str, Any] | None = Field(
        default=None,
        description="The recipe to change in place of the study's base: a mapping, or the path of "
        "a recipe's file.",
    )
    changes: dict[str, Any] = Field(
        default_factory=dict,
        description="Of the base recipe; mappings are merged, a dotted key leads into lists. "
        "`baseline` takes the place of phases, and phases that of a baseline.",
    )
    candidates: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Further changes, such as learning rates, one of which is chosen.",
    )
    later: bool = Field(
        default=False, description="Run only when --only names it; shown as not run until then."
    )
    budget_note: str | None = Field(
        default=None, description="Why it draws another number of requests than the budget."
    )


class StudyEvaluation(Section):
    """The test: frozen once, the same for every cell, and measured once a run."""

    sets: list[RequestSource] = Field(min_length=1, description="Request sets and benchmarks.")
    attacks: list[str] = Field(
        default_factory=lambda: ["none"], min_length=1, description="As evaluation.attacks."
    )
    max_tokens: int = Field(default=128, ge=1, description="Longest answer, in tokens.")
    canary: str | None = Field(default="embedded", description="As evaluation.canary.")


class Selection(Section):
    """How one of a cell's candidates is chosen: by w·(1 − harm) + (1 − w)·answered, where answered
    is the share of harmless requests that are answered: no model gains by garble or by refusing
    everything."""

    sets: list[RequestSource] = Field(
        min_length=1, description="Validation requests, none of them in the test."
    )
    max_tokens: int = Field(default=128, ge=1, description="Longest answer, in tokens.")
    harm_weight: float = Field(default=0.5, gt=0, lt=1, description="The weight w.")
    seed: int = Field(default=0, ge=0, description="Seed of the candidates' runs.")


class Inference(Section):
    """The untrained model under the prompt modes."""

    modes: list[RolloutMode] = Field(
        default_factory=lambda: list(RolloutMode), min_length=1, description="Prompt modes."
    )
    attacks: list[str] = Field(
        default_factory=lambda: ["none"], min_length=1, description="As evaluation.attacks."
    )


class Ablation(Section):
    """Two cells that differ in one thing."""

    question: str = Field(description="What the difference answers, such as `Do the cases help?`")
    with_it: str = Field(description="The cell that has it.")
    without: str = Field(description="The cell that lacks it.")


class StudyRecipe(Section):
    """One study. A cell that is null is the untrained model."""

    name: str = Field(min_length=1, description="Shown in the tables.")
    output: str = Field(description="The study's folder.")
    base: dict[str, Any] = Field(
        description="The recipe that cells change: a mapping, or the path of a recipe's file."
    )
    seeds: list[int] = Field(
        default_factory=lambda: [0, 1, 2], min_length=1, description="One run of each cell a seed."
    )
    budget: int | None = Field(
        default=None,
        ge=1,
        description="Requests that every cell draws; one that draws another number says why "
        "(budget_note). Null leaves it unchecked.",
    )
    evaluation: StudyEvaluation = Field(description="The test.")
    selection: Selection | None = Field(
        default=None, description="How candidates are chosen; null where there are none."
    )
    inference: Inference | None = Field(
        default=None, description="The untrained model under the prompt modes; null leaves it out."
    )
    cells: dict[str, Cell | None] = Field(min_length=1, description="The methods, by name.")
    compare_to: str = Field(description="The cell that all others are tested against.")
    ablations: list[Ablation] = Field(default_factory=list, description="Pairs told apart.")
    recommended: str | None = Field(
        default=None, description="The cell that is put against every other one."
    )

    @model_validator(mode="after")
    def _fits(self) -> "StudyRecipe":
        for name in self.cells:
            if not _NAME.fullmatch(name):
                raise ValueError(f"a cell's name is a folder's too; {name!r} can be none")
            if name == INFERENCE:
                raise ValueError(f"{name!r} stands for the prompt modes; no cell may have the name")
        named = [self.compare_to, *([self.recommended] if self.recommended else [])]
        named += [cell for a in self.ablations for cell in (a.with_it, a.without)]
        if strange := next((n for n in named if n not in self.cells), None):
            raise ValueError(f"there is no cell {strange!r}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed comes twice in seeds")
        chosen = any(cell and cell.candidates for cell in self.cells.values())
        if chosen and self.selection is None:
            raise ValueError("cells with candidates need selection")
        return self

    @property
    def shared(self) -> str:
        """A digest of what all cells share. Cells and seeds may be added to a study that runs."""
        names = {"name", "base", "budget", "evaluation", "selection", "inference"}
        data = self.model_dump(mode="json", include=names, exclude_unset=True)
        return digest_of(data)

    def recipe(self, cell: str, *more: dict[str, Any]) -> Recipe:
        """The recipe of a cell's run: its base with the cell's changes, then `more` of them.

        Raises:
            CadaError: the cell is the untrained model, or its changes make no recipe.
        """
        found = self.cells[cell]
        where = f"cell {cell!r}"
        if found is None:
            raise CadaError("is the untrained model", where=where, mend="It has no recipe")
        data = self.base if found.base is None else found.base
        for changes in (found.changes, *more):
            if changes.get("baseline"):
                data = {key: value for key, value in data.items() if key != "phases"}
            if changes.get("phases"):
                data = {key: value for key, value in data.items() if key != "baseline"}
            data = merged(data, changes, where)
        return parse_recipe(data, where)

    def untrained(self) -> Recipe:
        """The base recipe, for its model, prompting and judge alone.

        Raises:
            CadaError: it cannot be read so.
        """
        data = {k: v for k, v in self.base.items() if k not in ("phases", "baseline")}
        return parse_recipe({**data, "baseline": {"kind": "sft"}}, "base")


def digest_of(value: Any) -> str:
    """Sixteen digits that stand for a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def load_study(path: Path, overrides: list[str] | None = None) -> StudyRecipe:
    """Read a study's recipe; every cell's recipe is seen to be one.

    Raises:
        CadaError: no such file, an unknown key or an impossible value, in a cell too.
    """
    data = read_mapping(path)
    cells = data["cells"].values() if isinstance(data.get("cells"), dict) else []
    for part in (data, *(cell for cell in cells if isinstance(cell, dict))):
        if isinstance(part.get("base"), str):
            part["base"] = read_mapping(Path(part["base"]))
    apply(data, overrides)
    study = validate(StudyRecipe, data, str(path))
    study.untrained()
    for name, cell in study.cells.items():
        if cell is not None:
            for candidate in cell.candidates or [{}]:
                study.recipe(name, candidate)
    return study
