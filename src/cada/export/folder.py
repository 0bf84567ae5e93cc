"""An exported folder: whole or absent, and never over something else."""

import json
from collections.abc import Sequence
from pathlib import Path

from cada import __version__
from cada.config.load import dump_recipe
from cada.errors import CadaError
from cada.export import openrlhf, trl, verl
from cada.export.plan import Plan, Trainer
from cada.export.rows import Row
from cada.export.scoring import RECIPE
from cada.files import atomic_path

_MARK = "export.json"
_WRITERS = {Trainer.TRL: trl.write, Trainer.VERL: verl.write, Trainer.OPENRLHF: openrlhf.write}


def check_folder(folder: Path, trainer: Trainer) -> None:
    """See that a folder is free, or holds an export for this trainer and nothing else.

    Raises:
        CadaError: it holds something else, which would be lost.
    """
    if not folder.exists():
        return
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    known = _files_of(folder, trainer)
    if strays := sorted(there - known):
        raise CadaError(
            f"the place holds something else ({strays[0]}), which an export would replace",
            where=str(folder),
            mend="Choose another place with --out, or empty this one",
        )


def write_folder(folder: Path, plan: Plan, train: Sequence[Row], validate: Sequence[Row]) -> None:
    """Write the export, replacing an earlier one for the same trainer.

    Beside the trainer's own files: the resolved recipe, which the reward reads, and `export.json`
    with the phase, the counts and the warnings.

    Raises:
        CadaError: the place holds something else, or the trainer cannot take the phase.
    """
    check_folder(folder, plan.trainer)
    with atomic_path(folder) as path:
        path.mkdir()
        (path / RECIPE).write_text(dump_recipe(plan.recipe), encoding="utf-8")
        _WRITERS[plan.trainer](plan, train, validate, path)
        files = sorted([*(each.name for each in path.iterdir()), _MARK])
        told = {
            "cada": __version__,
            "trainer": str(plan.trainer),
            "phase": plan.phase.name,
            "train": len(train),
            "validate": len(validate),
            "longest_prompt": plan.longest_prompt,
            "warnings": plan.warnings,
            "files": files,
        }
        text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
        (path / _MARK).write_text(text, encoding="utf-8")


def _files_of(folder: Path, trainer: Trainer) -> set[str]:
    """What an earlier export for this trainer wrote; nothing where there is none.

    Python's cache of the reward file is made by running it.
    """
    try:
        told = json.loads((folder / _MARK).read_text(encoding="utf-8"))
        if told["trainer"] == trainer:
            return {*map(str, told["files"]), "__pycache__"}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return set()
