"""`cada export`: a phase's prompts and reward for another trainer, in order.

choose the phase → see that the trainer can run it → draw its prompts → write the folder
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cada.casebook.loader import load_casebook
from cada.config.recipe import Recipe
from cada.errors import CadaError
from cada.export.folder import check_folder, write_folder
from cada.export.plan import Plan, Trainer, check, choose_phase, common_warnings
from cada.export.rows import Row, training_rows, validation_rows
from cada.judging.verdict import check_judge
from cada.models.load import has_system_role
from cada.requests.sources import load_sets
from cada.rollout.prompts import Prompter
from cada.training.draw import training_requests


@dataclass(frozen=True)
class Exported:
    """What was written, and what the trainer does otherwise than `cada align`."""

    folder: Path
    trainer: Trainer
    phase: str
    n_train: int
    n_validate: int
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return {
            "folder": str(self.folder),
            "trainer": str(self.trainer),
            "phase": self.phase,
            "train": self.n_train,
            "validate": self.n_validate,
            "warnings": list(self.warnings),
        }


def export(recipe: Recipe, trainer: Trainer, folder: Path, phase: str | None = None) -> Exported:
    """Write what `trainer` needs to run a phase of the recipe.

    The model's tokenizer is read, for the lengths of the prompts and for whether its chat template
    takes a system message; its weights are not.

    Raises:
        CadaError: bad input, a phase that the trainer cannot run, or a folder that holds
            something else.
    """
    chosen = choose_phase(recipe, phase)
    check(recipe, chosen, trainer)
    check_folder(folder, trainer)
    casebook = load_casebook(recipe.casebook)
    train = training_requests(recipe, casebook)
    sets = load_sets(recipe.requests.evaluate, casebook)
    drawn = [r for r in train if chosen.shares.model_dump()[r.kind]]
    measured = [r for requests in sets.values() for r in requests]
    check_judge(recipe.judge.kind, recipe.judge.harm_only, [*drawn, *measured])
    tokenizer = _tokenizer(recipe.model)
    prompter = Prompter(casebook, recipe.prompting, tokenizer, has_system_role(tokenizer))
    rows = training_rows(prompter, train, chosen, recipe.seed)
    validate = validation_rows(prompter, sets, recipe.seed)
    plan = Plan(
        recipe, chosen, trainer, _longest([*rows, *validate], tokenizer), _special(tokenizer)
    )
    common_warnings(plan)
    write_folder(folder, plan, rows, validate)
    return Exported(folder, trainer, chosen.name, len(rows), len(validate), tuple(plan.warnings))


def _tokenizer(model: str) -> Any:
    """The model's tokenizer, seen to have a chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise CadaError(
            f"the model's tokenizer cannot be read ({str(error).splitlines()[0].rstrip('.')})",
            where=model,
            mend="Log in to the hub, or write model=FOLDER",
        ) from error
    if not tokenizer.chat_template:
        raise CadaError(
            "the model has no chat template",
            where=model,
            mend="Use an instruction-tuned model, or set tokenizer.chat_template and save it",
        )
    return tokenizer


def _longest(rows: Sequence[Row], tokenizer: Any) -> int:
    """Tokens of the longest prompt."""
    texts = [
        tokenizer.apply_chat_template(row.chat, tokenize=False, add_generation_prompt=True)
        for row in rows
    ]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return max(map(len, ids))


def _special(tokenizer: Any) -> tuple[str, ...]:
    """The tokens that decoding leaves out."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return tuple(dict.fromkeys([*tokenizer.all_special_tokens, *added]))
