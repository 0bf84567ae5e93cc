"""What a study's grid asks for: its cells, what they draw, and whether that is equal."""

from collections.abc import Iterable, Sequence

from cada.config.recipe import Recipe
from cada.config.study import INFERENCE, StudyRecipe
from cada.errors import CadaError


def chosen_cells(study: StudyRecipe, only: Sequence[str]) -> list[str]:
    """The cells to run, in the recipe's order.

    Raises:
        CadaError: there is no cell of that name, or no prompt modes to measure.
    """
    named = [*study.cells, *([INFERENCE] if study.inference else [])]
    for name in only:
        if name not in named:
            raise CadaError(
                f"there is no cell {name!r}",
                where="--only",
                mend=f"The cells are {', '.join(named)}",
            )
    return [
        name
        for name, cell in study.cells.items()
        if (name in only if only else not (cell and cell.later))
    ]


def infers(study: StudyRecipe, only: Sequence[str]) -> bool:
    """Whether the untrained model is measured under the prompt modes."""
    return study.inference is not None and (not only or INFERENCE in only)


def drawn(recipe: Recipe) -> int:
    """Requests that a recipe's training draws; one that it comes back to counts once where
    `requests.distinct` says how many there are."""
    asked = sum(stage.steps * stage.requests_per_step for stage in recipe.stages)
    return min(asked, recipe.requests.distinct or asked)


def check_budget(study: StudyRecipe, cells: Iterable[str]) -> None:
    """See that every trained cell draws as many requests as the budget says, or says why not.

    Raises:
        CadaError: one draws another number and does not say why.
    """
    for name in cells:
        cell = study.cells[name]
        if study.budget is None or cell is None or cell.budget_note:
            continue
        for changes in cell.candidates or [{}]:
            found = drawn(study.recipe(name, changes))
            if found != study.budget:
                raise CadaError(
                    f"draws {found} requests, and the study's budget is {study.budget}",
                    where=f"cell {name!r}",
                    mend="Set its steps × requests to the budget, or say why in budget_note",
                )
