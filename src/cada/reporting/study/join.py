"""Parts of one study that ran in several places, put together."""

from collections.abc import Sequence
from pathlib import Path

from cada.errors import CadaError
from cada.reporting.study.record import CellRecord, RunRecord, StudyRecord, read_record


def join(paths: Sequence[Path]) -> StudyRecord:
    """One record of several studies' files. What a study is about is told as in the first.

    Raises:
        CadaError: a file cannot be read, is of another study, or found something else for a run
            that another file has too.
    """
    whole, *rest = [read_record(path) for path in paths]
    for path, part in zip(paths[1:], rest, strict=True):
        if part.shared != whole.shared:
            raise CadaError(
                f"is of another study than {paths[0]} (its base, budget, evaluation, selection or "
                "inference is another)",
                where=str(path),
                mend="Join parts that one recipe gave, with the same overrides",
            )
        for name, found in part.sets.items():
            if whole.sets.setdefault(name, found) != found:
                raise _differs(path, f"the requests of {name}")
        whole.seeds += [seed for seed in part.seeds if seed not in whole.seeds]
        whole.inference = _one(whole.inference, part.inference, path, "the prompt modes")
        for name, cell in part.cells.items():
            if name in whole.cells:
                _take(whole.cells[name], cell, name, path)
            else:
                whole.cells[name] = cell
    return whole


def _take(into: CellRecord, cell: CellRecord, name: str, path: Path) -> None:
    """Add what another file knows of a cell."""
    if into.chosen is None and len(cell.candidates) >= len(into.candidates):
        into.candidates, into.chosen = cell.candidates, cell.chosen
    elif cell.chosen is not None and _chosen(cell) != _chosen(into):
        raise _differs(path, f"the choice among the candidates of {name}")
    for seed, run in cell.runs.items():
        found = _one(into.runs.get(seed), run, path, f"{name} under seed {seed}")
        if found is not None:
            into.runs[seed] = found


def _one(a: RunRecord | None, b: RunRecord | None, path: Path, what: str) -> RunRecord | None:
    """The one that is done, or either; both must have found the same."""
    if a is None or b is None:
        return a or b
    if a.status != "done" or b.status != "done":
        return b if b.status == "done" else a
    if (a.config, a.results, a.canary) != (b.config, b.results, b.canary):
        raise _differs(path, what)
    return a


def _chosen(cell: CellRecord) -> str | None:
    return None if cell.chosen is None else cell.candidates[cell.chosen].config


def _differs(path: Path, what: str) -> CadaError:
    return CadaError(
        f"differs from the files before it in {what}",
        where=str(path),
        mend="Run each cell in one place, from the same requests and with as many threads",
    )
