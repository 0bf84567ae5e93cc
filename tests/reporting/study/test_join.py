"""Parts of one study, put together from their files."""

from pathlib import Path

import pytest

from cada.errors import CadaError
from cada.reporting.study.join import join
from cada.reporting.study.page import write_pages
from cada.reporting.study.record import (
    CandidateRecord,
    CellRecord,
    RunRecord,
    StudyRecord,
    read_record,
    write_record,
)
from tests.command import here
from tests.reporting.study.test_tables import cell, record, run


def kept(path: Path, part: StudyRecord) -> Path:
    write_record(path, part)
    return path


def candidate(score: float | None, config: str = "c") -> CandidateRecord:
    return CandidateRecord(
        changes={}, config=config, score=score, harm=None, answered=None, seconds=1
    )


def test_parts_give_the_tables_of_the_whole(tmp_path: Path) -> None:
    cada, minimal, best = cell(12, 8), cell(30, 8), cell(1, 2)
    minimal.candidates, minimal.chosen = [candidate(0.5), candidate(0.6)], 1
    whole = record(cada=cada, minimal=minimal, best=best)
    failed = RunRecord(status="failed", seconds=1, config="", error="no room")
    one = record(cada=cada, minimal=CellRecord(), best=CellRecord(runs={"0": failed}))
    early, late = best.model_copy(deep=True), best.model_copy(deep=True)
    early.runs, late.runs = {"0": best.runs["0"]}, {s: best.runs[s] for s in ("0", "1", "2")}
    two = record(cada=CellRecord(), minimal=minimal, best=early)
    three = record(best=late)
    one.seeds, two.seeds = [0], [0, 1]
    paths = [kept(tmp_path / f"{n}.json", part) for n, part in enumerate((one, two, three))]
    done = here("study", *[a for p in paths for a in ("--join", p)], "--out", tmp_path / "both")
    assert done.returncode == 0, done.stderr
    joined = read_record(tmp_path / "both/study.json")
    assert joined.seeds == [0, 1, 2]
    assert joined.cells == whole.cells
    for file in write_pages(whole, tmp_path / "whole"):
        assert (tmp_path / "both/tables" / file.name).read_bytes() == file.read_bytes()


def test_a_part_that_found_something_else_is_refused(tmp_path: Path) -> None:
    first = kept(tmp_path / "first.json", record(cada=cell(12, 8)))
    other = record(cada=cell(12, 8))
    other.shared = "another"
    with pytest.raises(CadaError, match="of another study"):
        join([first, kept(tmp_path / "other.json", other)])
    unlike = cell(12, 8)
    unlike.runs["1"] = run(13, 8, seed=1)
    with pytest.raises(CadaError, match="in cada under seed 1"):
        join([first, kept(tmp_path / "unlike.json", record(cada=unlike))])
    changed = record(cada=cell(12, 8))
    changed.sets["mixed"].digest = "e"
    with pytest.raises(CadaError, match="in the requests of mixed"):
        join([first, kept(tmp_path / "changed.json", changed)])
    chosen = [cell(12, 8), cell(12, 8)]
    for number, each in enumerate(chosen):
        each.candidates = [candidate(0.5, "a"), candidate(0.5, "b")]
        each.chosen = number
    paths = [kept(tmp_path / f"c{n}.json", record(cada=c)) for n, c in enumerate(chosen)]
    with pytest.raises(CadaError, match="the choice among the candidates of cada"):
        join(paths)


def test_a_finished_study_is_not_written_over(tmp_path: Path) -> None:
    part = kept(tmp_path / "part.json", record(cada=cell(12, 8)))
    whole = kept(tmp_path / "whole/study.json", record(cada=cell(1, 8)))
    before = whole.read_bytes()
    done = here("study", "--join", part, "--out", tmp_path / "whole")
    assert done.returncode == 2
    assert "none of the parts" in done.stderr
    assert whole.read_bytes() == before
    assert "--out" in here("study", "--join", part).stderr
