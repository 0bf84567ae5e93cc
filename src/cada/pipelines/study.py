"""`cada study`: methods side by side over seeds, resumable at any point.

    freeze the requests → measure the untrained model → choose candidates on validation requests
    → run every cell under every seed (as `cada align` does) → tables, picture, conclusions

`study.json` is written after each of these; the same command goes on where a killed one stopped. A
cell that fails is recorded as failed, the rest goes on, and the next call tries it again.
"""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cada.config.study import StudyRecipe
from cada.errors import CadaError
from cada.files import held
from cada.pipelines.align import Watcher
from cada.pipelines.run_folder import source_commit, versions
from cada.pipelines.study_cells import Cells
from cada.pipelines.study_grid import check_budget, chosen_cells, infers
from cada.reporting.study.page import write_pages
from cada.reporting.study.record import (
    FILE,
    StudyRecord,
    follow,
    new_record,
    read_record,
    write_record,
)


def run_study(
    study: StudyRecipe,
    watcher: Watcher,
    *,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> StudyRecord:
    """Run what is left of a study, and write its tables.

    Args:
        study: the grid.
        watcher: is told what goes on.
        only: these cells alone, those marked `later` too; all that are not marked when empty.
            `inference` among them is the prompt modes on the untrained model.
        seeds: these seeds alone; the recipe's when empty.

    Raises:
        CadaError: bad input, a folder that holds something else, or requests that have changed.
    """
    cells = chosen_cells(study, only)
    check_budget(study, cells)
    if threads := study.untrained().threads:
        torch.set_num_threads(threads)
    folder = Path(study.output)
    record = _open(study, folder)
    with held(folder):
        record = _open(study, folder)
        at_work = Cells(study, record, folder, watcher)
        at_work.requests.freeze()
        at_work.save()
        untrained = [name for name in cells if study.cells[name] is None]
        for name in untrained:
            at_work.run(name, study.seeds[0])
        if infers(study, only):
            at_work.infer()
        for name in cells:
            at_work.choose(name)
        for seed in seeds or study.seeds:
            for name in cells:
                if name not in untrained:
                    at_work.run(name, seed)
        write_pages(record, folder / "tables")
    return record


def _open(study: StudyRecipe, folder: Path) -> StudyRecord:
    """The study's record, new or as it was left.

    Raises:
        CadaError: the folder holds something else, or another study.
    """
    path = folder / FILE
    if not path.exists():
        there = [p.name for p in folder.iterdir() if p.name != ".lock"] if folder.is_dir() else []
        if there or folder.is_file():
            raise CadaError(
                "the output exists and is no study of cada",
                where=str(folder),
                mend="Choose another place with output=FOLDER",
            )
        record = new_record(study, _machine(study))
        write_record(path, record)
        return record
    record = read_record(path)
    if record.shared != study.shared:
        raise CadaError(
            "the folder holds another study (its base, budget, evaluation, selection or inference "
            "is another)",
            where=str(folder),
            mend="Choose another place with output=FOLDER",
        )
    follow(record, study)
    return record


def _machine(study: StudyRecipe) -> dict[str, Any]:
    """Where and with what the study began."""
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpu_count": os.cpu_count(),
        "threads": study.untrained().threads,
        "packages": versions(),
        "git_commit": source_commit(),
    }
