"""`cada study --dry-run`: the cells of a study and what they will take, before anything is run."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from cada.config.recipe import Recipe
from cada.config.study import StudyRecipe
from cada.pipelines.plan import Planner
from cada.pipelines.study_grid import check_budget, chosen_cells, drawn, infers
from cada.planning.machine import measure_rates
from cada.planning.plan import Assumptions, Plan
from cada.planning.work import Rates


@dataclass(frozen=True)
class CellPlan:
    """A cell foreseen. `runs` and `candidates` are those of this call; figures are of one run:
    requests drawn, completions sampled, updates and seconds, the measuring of the test included."""

    name: str
    about: str
    runs: int
    candidates: int
    requests: int
    rollouts: int
    updates: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @property
    def total(self) -> float:
        """Seconds of all its runs. A candidate's is taken to last as long as another."""
        return self.seconds * (self.runs + self.candidates)


@dataclass(frozen=True)
class StudyPlan:
    """The cells of a study that would run, those left for later, and the seconds of table 1."""

    cells: list[CellPlan]
    later: list[str]
    inference: float

    @property
    def seconds(self) -> float:
        """Of the whole study."""
        return sum(cell.total for cell in self.cells) + self.inference

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "cells": [cell.as_dict() | {"seconds_in_all": cell.total} for cell in self.cells],
            "later": self.later,
            "seconds_inference": self.inference,
            "seconds": self.seconds,
        }


def foresee_study(
    study: StudyRecipe,
    *,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    rate: float | None = None,
    kept: float = 0.5,
) -> StudyPlan:
    """The plan of a study on this machine; nothing is written.

    Args:
        study: the grid.
        only: as in `run_study`.
        seeds: as in `run_study`.
        rate: the machine's matrix rate in operations a second; measured when None.
        kept: share of rollouts that distillation and baselines keep.

    Raises:
        CadaError: bad input, in a cell too.
    """
    chosen = chosen_cells(study, only)
    check_budget(study, chosen)
    base = _measured_as(study, study.untrained())
    if base.threads:
        torch.set_num_threads(base.threads)
    planner = Planner(base)
    rates = _rates(planner, rate)
    once = _measuring(planner.plan(Assumptions(kept=kept), rates))
    has_untrained = any(cell is None for cell in study.cells.values())
    cells = []
    for name in chosen:
        cell = study.cells[name]
        if cell is None:
            cells.append(CellPlan(name, "the untrained model", 1, 0, 0, 0, 0, once))
            continue
        changes = cell.candidates[0] if cell.candidates else {}
        recipe = _measured_as(study, study.recipe(name, changes))
        fixed = recipe.baseline is not None and not recipe.baseline.samples_harmful
        plan = Planner(recipe).plan(Assumptions(kept=1.0 if fixed else kept), rates)
        training = [s for s in plan.stages if s.name != "measuring"]
        # The untrained model's answers are measured once, for all.
        seconds = sum(s.seconds or 0 for s in training)
        seconds += _measuring(plan) * (1 if has_untrained else 2)
        cells.append(
            CellPlan(
                name,
                cell.about,
                len(seeds or study.seeds),
                len(cell.candidates),
                drawn(recipe),
                sum(s.rollouts for s in training),
                sum(s.updates for s in training),
                seconds,
            )
        )
    later = [name for name in study.cells if name not in chosen]
    return StudyPlan(cells, later, _inference(study, base, rates) if infers(study, only) else 0.0)


def _measured_as(study: StudyRecipe, recipe: Recipe) -> Recipe:
    """The recipe with the study's test, from where its requests come."""
    test = study.evaluation
    evaluation = recipe.evaluation.model_copy(
        update={"modes": ["none"], "attacks": test.attacks, "max_tokens": test.max_tokens}
    )
    requests = recipe.requests.model_copy(update={"evaluate": test.sets})
    return recipe.model_copy(update={"evaluation": evaluation, "requests": requests})


def _inference(study: StudyRecipe, base: Recipe, rates: Rates) -> float:
    """Seconds of table 1."""
    if study.inference is None:
        return 0.0
    evaluation = base.evaluation.model_copy(
        update={"modes": study.inference.modes, "attacks": study.inference.attacks}
    )
    recipe = base.model_copy(update={"evaluation": evaluation})
    return _measuring(Planner(recipe).plan(Assumptions(), rates))


def _measuring(plan: Plan) -> float:
    """Seconds of measuring once; a run's plan has it before and after."""
    return sum((s.seconds or 0) / 2 for s in plan.stages if s.name == "measuring")


def _rates(planner: Planner, rate: float | None) -> Rates:
    if rate is not None:
        return Rates(rate, rate, planner.device.type)
    training = planner.recipe.training
    return measure_rates(
        planner.shape,
        planner.device,
        tokens=min(training.tokens_per_microbatch, 4096),
        rows=min(128, training.rows_per_batch),
    )
