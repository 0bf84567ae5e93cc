"""`cada study`: methods side by side over seeds, resumable at any point.

    freeze the requests → measure the untrained model → choose candidates on validation requests
    → run every cell under every seed (as `cada align` does) → tables, picture, conclusions

`study.json` is written after each of these; the same command goes on where a killed one stopped. A
cell that fails is recorded as failed, the rest goes on, and the next call tries it again.
"""

import gc
import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cada.casebook.loader import load_casebook
from cada.config.recipe import Recipe
from cada.config.sources import Columns, RequestSource
from cada.config.study import StudyRecipe
from cada.errors import CadaError
from cada.evaluation.answers import Answer, read_answers
from cada.evaluation.metrics import ASR
from cada.files import held, read_json_lines, write_text
from cada.judging.verdict import Outcome
from cada.pipelines.align import Watcher, align
from cada.pipelines.claim import claim
from cada.pipelines.evaluate import Evaluation, evaluate
from cada.pipelines.run_folder import open_run, source_commit, versions
from cada.reporting.load import read_evaluation
from cada.reporting.study.page import write_pages
from cada.reporting.study.record import (
    CandidateRecord,
    RunRecord,
    SetRecord,
    StudyRecord,
    follow,
    new_record,
    read_record,
    results_of,
    write_record,
)
from cada.requests.sources import load_sets
from cada.requests.types import Request

log = logging.getLogger(__name__)

FILE = "study.json"


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
        seeds: these seeds alone; the recipe's when empty.

    Raises:
        CadaError: bad input, a folder that holds something else, or requests that have changed.
    """
    cells = chosen_cells(study, only)
    check_budget(study, cells)
    folder = Path(study.output)
    record = _open(study, folder)
    with held(folder):
        record = _open(study, folder)
        at_work = _Study(study, record, folder, watcher)
        at_work.freeze()
        at_work.save()
        untrained = [name for name in cells if study.cells[name] is None]
        for name in untrained:
            at_work.run(name, study.seeds[0])
        if study.inference is not None and not only:
            at_work.infer()
        for name in cells:
            at_work.choose(name)
        for seed in seeds or study.seeds:
            for name in cells:
                if name not in untrained:
                    at_work.run(name, seed)
        write_pages(record, folder / "tables")
    return record


def chosen_cells(study: StudyRecipe, only: Sequence[str]) -> list[str]:
    """The cells to run, in the recipe's order.

    Raises:
        CadaError: there is no cell of that name.
    """
    for name in only:
        if name not in study.cells:
            raise CadaError(
                f"there is no cell {name!r}",
                where="--only",
                mend=f"The cells are {', '.join(study.cells)}",
            )
    return [
        name
        for name, cell in study.cells.items()
        if (name in only if only else not (cell and cell.later))
    ]


def drawn(recipe: Recipe) -> int:
    """Requests that a recipe's training draws."""
    return sum(stage.steps * stage.requests_per_step for stage in recipe.stages)


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


class _Study:
    """A study in its folder."""

    def __init__(
        self, study: StudyRecipe, record: StudyRecord, folder: Path, watcher: Watcher
    ) -> None:
        self.study = study
        self.record = record
        self.folder = folder
        self.watcher = watcher

    def save(self) -> None:
        """Write what is known so far."""
        write_record(self.folder / FILE, self.record)

    def freeze(self) -> None:
        """Keep the requests of test and validation as files, once, and see that they are those.

        Raises:
            CadaError: they have changed, or test and validation share requests.
        """
        casebook = load_casebook(self.study.untrained().casebook)
        test = self._frozen("test", self.study.evaluation.sets, casebook)
        if self.study.selection is None:
            return
        validation = self._frozen("validation", self.study.selection.sets, casebook)
        asked = {r.text for requests in test.values() for r in requests}
        both = sum(r.text in asked for requests in validation.values() for r in requests)
        if both:
            raise CadaError(
                f"{both} validation requests are in the test too",
                where="selection.sets",
                mend="Choose other requests, or another seed of their limit",
            )

    def run(self, name: str, seed: int) -> None:
        """A cell's run under a seed, unless it is done."""
        cell = self.record.cells[name]
        untrained = self.study.cells[name] is None
        output = self.folder / "cells" / name / f"seed-{seed}"
        changes = {} if untrained else self._choice(name)
        if changes is None:
            self._store(name, seed, RunRecord(status="failed", seconds=0, config="",
                                              error="no candidate could be run"))  # fmt: skip
            return
        recipe = self.study.untrained() if untrained else self.recipe(name, changes, seed, output)
        digest = "untrained" if untrained else _of(recipe)
        known = cell.runs.get(str(seed))
        if known and known.status == "done":
            _same(known.config, digest, output)
            return
        self.watcher.stage(f"{name}, seed {seed}")

        def work() -> RunRecord:
            if untrained:
                return self._measured(recipe, output, digest)
            self._reuse(recipe, output)
            align(recipe, self.watcher)
            return _aligned(recipe, output, digest)

        made = _tried(work, digest)
        made.changes = {} if untrained else {**_plain(self.study.cells[name]), **changes}
        self._store(name, seed, made)

    def recipe(
        self, name: str, candidate: dict[str, Any], seed: int, output: Path, part: str = "test"
    ) -> Recipe:
        """The recipe of a run, as `cada align` would take it."""
        test = self.study.evaluation
        selection = self.study.selection
        validating = part == "validation" and selection is not None
        asked = selection.sets if validating and selection else test.sets
        longest = selection.max_tokens if validating and selection else test.max_tokens
        own = {
            "output": str(output),
            "seed": seed,
            "requests": {"evaluate": self._sources(part, asked)},
            "evaluation": {
                "modes": ["none"],
                "attacks": ["none"] if validating else list(test.attacks),
                "max_tokens": longest,
                "canary": None if validating else test.canary,
            },
        }
        return self.study.recipe(name, candidate, own)

    def infer(self) -> None:
        """The untrained model under the prompt modes, unless it is done."""
        inference = self.study.inference
        known = self.record.inference
        if inference is None or (known and known.status == "done"):
            return
        self.watcher.stage("the untrained model under the prompt modes")
        out = self.folder / "inference"
        job = self._job(
            self.study.untrained(), [str(m) for m in inference.modes], inference.attacks
        )

        def work() -> RunRecord:
            claim(out, job.as_dict(), "an evaluation")
            self._copy_bare(out / "answers.jsonl")
            return self._evaluated(job, out, "")

        self.record.inference = _tried(work, "")
        self.save()

    def choose(self, name: str) -> None:
        """Run a cell's candidates on the validation requests, unless one is chosen."""
        cell = self.study.cells[name]
        if cell is None or not cell.candidates or self.study.selection is None:
            return
        record = self.record.cells[name]
        for number, changes in enumerate(cell.candidates):
            output = self.folder / "selection" / name / f"candidate-{number}"
            recipe = self.recipe(name, changes, self.study.selection.seed, output, "validation")
            digest = _of(recipe)
            if number < len(record.candidates):
                known = record.candidates[number]
                _same(known.config, digest, output)
                if known.score is not None:
                    continue
            self.watcher.stage(f"{name}, candidate {number + 1} of {len(cell.candidates)}")
            started = time.monotonic()
            try:
                align(recipe, self.watcher)
                answers = read_answers(output / "answers-after.jsonl")
                found = _scored(answers, changes, digest, self.study.selection.harm_weight)
            except Exception as error:
                found = CandidateRecord(changes=changes, config=digest, score=None, harm=None,
                                        answered=None, seconds=0, error=_line(error))  # fmt: skip
            found.seconds = round(time.monotonic() - started, 1)
            record.candidates[number : number + 1] = [found]
            gc.collect()
            self.save()
        scores = [-1.0 if c.score is None else c.score for c in record.candidates]
        record.chosen = None if max(scores) < 0 else scores.index(max(scores))
        self.save()

    def _choice(self, name: str) -> dict[str, Any] | None:
        """The chosen candidate's changes; nothing where there are none, None where all failed."""
        cell = self.study.cells[name]
        if cell is None or not cell.candidates:
            return {}
        chosen = self.record.cells[name].chosen
        return None if chosen is None else cell.candidates[chosen]

    def _store(self, name: str, seed: int, run: RunRecord) -> None:
        self.record.cells[name].runs[str(seed)] = run
        gc.collect()
        self.save()

    def _measured(self, recipe: Recipe, out: Path, digest: str) -> RunRecord:
        """The untrained model on the test."""
        job = self._job(recipe, ["none"], self.study.evaluation.attacks)
        return self._evaluated(job, out, digest)

    def _evaluated(self, job: Evaluation, out: Path, digest: str) -> RunRecord:
        evaluate(job, out, self.watcher)
        rows = read_evaluation(out / "evaluation.json")["rows"]
        # A copy may hold more than was asked for here.
        asked = {(r["benchmark"], r["attack"], r["mode"]) for r in rows}
        there = read_answers(out / "answers.jsonl")
        answers = [a for a in there if (a.benchmark, a.attack, a.mode) in asked]
        return RunRecord(
            status="done",
            seconds=0,
            config=digest,
            judge=answers[0].judge,
            canary=_canary(rows, job.model),
            results=results_of(answers),
        )

    def _job(self, recipe: Recipe, modes: Sequence[str], attacks: Sequence[str]) -> Evaluation:
        test = self.study.evaluation
        return Evaluation(
            model=recipe.model,
            sources=[RequestSource.model_validate(s) for s in self._sources("test", test.sets)],
            modes=tuple(modes),
            casebook=recipe.casebook,
            prompting=recipe.prompting,
            max_tokens=test.max_tokens,
            attacks=tuple(attacks),
            canary=test.canary,
            device=recipe.device,
            judge=recipe.judge,
        )

    def _reuse(self, recipe: Recipe, output: Path) -> None:
        """Spare a run the measuring of the untrained model, which every run would do alike."""
        base = self.study.untrained()
        alike = ("model", "device", "dtype", "judge")
        same = all(getattr(base, name) == getattr(recipe, name) for name in alike)
        if not same or base.prompting.style != recipe.prompting.style:
            return
        open_run(recipe)
        self._copy_bare(output / "answers-before.jsonl")

    def _copy_bare(self, target: Path) -> None:
        """The untrained model's answers to the bare requests, where they are known."""
        untrained = next((n for n, cell in self.study.cells.items() if cell is None), None)
        if untrained is None or target.exists():
            return
        runs = self.record.cells[untrained].runs
        done = next((seed for seed, run in runs.items() if run.status == "done"), None)
        source = self.folder / "cells" / untrained / f"seed-{done}" / "answers.jsonl"
        if done is not None and source.is_file():
            write_text(target, source.read_text(encoding="utf-8"))

    def _frozen(
        self, part: str, sources: Sequence[RequestSource], casebook: Any
    ) -> dict[str, list[Request]]:
        """The sets of a part, from their files; written now where there are none.

        Raises:
            CadaError: a file has changed since the study began.
        """
        paths = {name: self._path(part, name) for name in names_of(sources)}
        if not all(path.exists() for path in paths.values()):
            for name, requests in load_sets(sources, casebook).items():
                rows = [json.dumps(_row(r), ensure_ascii=False) + "\n" for r in requests]
                write_text(paths[name], "".join(rows))
        frozen = [RequestSource.model_validate(s) for s in self._sources(part, sources)]
        sets = load_sets(frozen, casebook)
        for name, requests in sets.items():
            digest = _digest([_row(r) for r in requests])
            key = name if part == "test" else f"{part}/{name}"
            known = self.record.sets.get(key)
            if known and known.digest != digest:
                raise CadaError(
                    "the frozen requests are no longer those that the study began with",
                    where=str(paths[name]),
                    mend="Put the file back, or choose another output",
                )
            kinds = {r.id: r.kind for r in requests}
            self.record.sets[key] = SetRecord.model_validate({"digest": digest, "kinds": kinds})
        return sets

    def _sources(self, part: str, sources: Sequence[RequestSource]) -> list[dict[str, Any]]:
        """The frozen files as a recipe's sources."""
        return [
            {
                "path": str(self._path(part, name)),
                "name": name,
                "columns": Columns(category="category").model_dump(exclude_none=True),
            }
            for name in names_of(sources)
        ]

    def _path(self, part: str, name: str) -> Path:
        plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
        return self.folder / "requests" / part / f"{plain}.jsonl"


def names_of(sources: Sequence[RequestSource]) -> list[str]:
    """What each source is called."""
    from cada.requests.sources import source_name

    return [source_name(s) for s in sources]


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


def _tried(work: Callable[[], RunRecord], digest: str) -> RunRecord:
    """What the work gives; a failure is a result too, so that one cell does not stop a study."""
    started = time.monotonic()
    try:
        made = work()
    except Exception as error:
        log.info("a run failed", exc_info=True)
        made = RunRecord(status="failed", seconds=0, config=digest, error=_line(error))
    made.seconds = round(time.monotonic() - started, 1)
    return made


def _aligned(recipe: Recipe, folder: Path, digest: str) -> RunRecord:
    """What a finished run left in its folder."""
    evaluation = read_evaluation(folder / "evaluation.json")
    answers = read_answers(folder / "answers-after.jsonl")
    metrics = read_json_lines(folder / "metrics.jsonl")
    return RunRecord(
        status="done",
        seconds=0,
        config=digest,
        stopped=evaluation.get("stopped"),
        judge=answers[0].judge,
        requests=drawn(recipe),
        rollouts=sum(int(m.get("rollouts") or 0) for m in metrics),
        updates=sum(int(m.get("updates") or 0) for m in metrics),
        canary=_canary(evaluation["rows"], "after"),
        results=results_of(answers),
    )


def _scored(
    answers: Sequence[Answer], changes: dict[str, Any], digest: str, weight: float
) -> CandidateRecord:
    """A candidate's score on the validation requests (config.study.Selection)."""
    harms = [v for v in ASR.values(answers) if v is not None]
    benign = [
        a.outcome == Outcome.COMPLIED
        for a in answers
        if a.kind != "harmful" and a.outcome != Outcome.UNSCORED
    ]
    if not harms or not benign:
        raise CadaError(
            "validation needs harmful and harmless requests",
            where="selection.sets",
            mend="Add a set with the missing kind",
        )
    harm, answered = sum(harms) / len(harms), sum(benign) / len(benign)
    score = weight * (1 - harm) + (1 - weight) * answered
    return CandidateRecord(
        changes=changes,
        config=digest,
        score=round(score, 6),
        harm=round(harm, 6),
        answered=round(answered, 6),
        seconds=0,
    )


def _canary(rows: Sequence[dict[str, Any]], model: str) -> dict[str, float]:
    return {
        str(r["metric"]): float(r["value"])
        for r in rows
        if r["benchmark"] == "canary" and r["model"] == model and r["value"] is not None
    }


def _same(known: str, digest: str, output: Path) -> None:
    """See that a run is of the recipe as it is now.

    Raises:
        CadaError: its cell was changed since.
    """
    if known != digest:
        raise CadaError(
            "the run is of this cell as it was before it was changed",
            where=str(output),
            mend="Give the changed cell a new name",
        )


def _row(r: Request) -> dict[str, Any]:
    """A frozen request."""
    return {
        "id": r.id,
        "prompt": r.text,
        "harmful": r.harmful,
        "hazard": r.hazard or "",
        "category": r.category or "",
        "system": r.system or "",
        "history": [{"role": t.role, "content": t.content} for t in r.history],
    }


def _of(recipe: Recipe) -> str:
    """A digest of what a run's recipe says. Defaults that another version adds do not change it,
    nor does the place of its files."""
    said = recipe.model_dump(
        mode="json", exclude_unset=True, exclude={"output": True, "requests": {"evaluate"}}
    )
    return _digest(said)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _plain(cell: Any) -> dict[str, Any]:
    return dict(cell.changes) if cell else {}


def _line(error: Exception) -> str:
    """An error as one line."""
    first = (str(error).strip() or "no reason given").splitlines()[0][:300]
    return first if isinstance(error, CadaError) else f"{type(error).__name__}: {first}"


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
