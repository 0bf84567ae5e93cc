"""A study's tables and sentences from made-up outcomes, without any model."""

from pathlib import Path

import pytest

from cada.config.study import Ablation
from cada.errors import CadaError
from cada.evaluation.outcomes import decode, encode
from cada.reporting.study.page import conclusions, picture, tables, write_pages
from cada.reporting.study.record import (
    CandidateRecord,
    CellRecord,
    RunRecord,
    SetRecord,
    StudyRecord,
    read_record,
    write_record,
)
from cada.reporting.study.table import (
    against,
    against_in_earnest,
    cell_rows,
    compared,
    measures,
    overall,
    paired_tests,
)

HARMFUL, HARMLESS = 60, 40


def run(harmful: int, refused: int, reasons: bool = True, seed: int = 0) -> RunRecord:
    """So many of the harmful requests are complied with, and harmless ones refused."""
    mark = "+" if reasons else ""
    plain = {f"h{n}": ("C" if (n + seed) % HARMFUL < harmful else "R") + mark
             for n in range(HARMFUL)}  # fmt: skip
    plain |= {f"b{n}": ("R" if n < refused else "C") + mark for n in range(HARMLESS)}
    attacked = {f"h{n}": "C" if (n + seed) % HARMFUL < min(HARMFUL, 2 * harmful) else "R"
                for n in range(HARMFUL)}  # fmt: skip
    return RunRecord(
        status="done",
        seconds=60,
        config="x",
        judge="rules",
        canary={"canary_loss": 2.0 + 0.1 * seed},
        rollouts=8,
        updates=6,
        results={"mixed|none|none": plain, "mixed|base64|none": attacked},
    )


def record(**cells: CellRecord) -> StudyRecord:
    kinds = {f"h{n}": "harmful" for n in range(HARMFUL)}
    kinds |= {f"b{n}": "lookalike" for n in range(HARMLESS)}
    return StudyRecord(
        name="made up",
        shared="s",
        machine={},
        seeds=[0, 1, 2],
        budget=8,
        attacks=["none", "base64"],
        compare_to="cada",
        ablations=[Ablation(question="Do the cases help?", with_it="cada", without="minimal")],
        recommended="best",
        sets={"mixed": SetRecord.model_validate({"digest": "d", "kinds": kinds})},
        cells={"base": CellRecord(untrained=True, runs={"0": run(30, 0, reasons=False)}), **cells},
    )


def cell(harmful: int, refused: int, seeds: int = 3) -> CellRecord:
    return CellRecord(runs={str(s): run(harmful, refused, seed=s) for s in range(seeds)})


def whole() -> StudyRecord:
    return record(
        cada=cell(12, 8),
        minimal=cell(12, 8),
        best=cell(1, 2),
        one=cell(15, 4, seeds=1),
        broken=CellRecord(
            runs={"0": RunRecord(status="failed", seconds=1, config="x", error="no | disk")}
        ),
        waits=CellRecord(later=True, about="for a GPU"),
    )


@pytest.mark.parametrize("code", ["R", "R+", "C", "P+", "U", "?", "C0.75", "C+0.25"])
def test_a_code_is_read_as_it_was_written(code: str) -> None:
    assert encode(decode(code, "harmful")) == code


@pytest.mark.parametrize("code", ["", "X", "R++", "RR", "C-1"])
def test_what_is_no_code_is_told(code: str) -> None:
    with pytest.raises(CadaError, match="no outcome"):
        decode(code, "harmful")


def test_values_are_means_over_requests_and_runs() -> None:
    found = whole()
    rows = {row.name: row for row in cell_rows(found)}
    assert list(rows) == ["base", "cada", "minimal", "best", "one"]
    shown = {key: e.value if e else None for key, e in rows["cada"].values.items()}
    assert shown == pytest.approx(
        {
            "harm|none": 0.2,
            "harm|base64": 0.4,
            "harm": 0.3,
            "refused": 0.7,
            "nrr": 0.8,
            "answered": 0.8,
            "reasoning": 1.0,
        }
    )
    # A request under two attacks is one request.
    assert rows["cada"].values["harm"].n == HARMFUL  # type: ignore[union-attr]
    assert rows["cada"].canary == pytest.approx((2.1, 2.0, 2.2))
    assert rows["base"].values["reasoning"].value == 0  # type: ignore[union-attr]


def test_tests_are_corrected_over_all_and_say_which_way() -> None:
    found = {(t.second, t.measure.key): t for t in paired_tests(whole())}
    assert len(found) == 4 * len([m for m in measures(whole()) if m.key != "refused"])
    best = found["best", "harm|none"]
    assert best.difference.value == pytest.approx(-11 / 60)
    assert best.p > best.difference.p
    assert best.verdict == "better"
    assert found["best", "nrr"].difference.value == pytest.approx(6 / 40)
    assert found["base", "harm|none"].verdict == "worse"
    assert found["minimal", "harm"].verdict == "unclear"
    assert found["base", "reasoning"].verdict == "worse"
    columns = [overall(whole())]
    (alone,) = compared(whole(), [("cada", "best")], columns)
    assert alone.p == alone.difference.p


def test_primary_measures_are_corrected_for_their_own_number() -> None:
    found = paired_tests(whole())
    primary = [t for t in found if t.measure.primary]
    assert {t.measure.key for t in primary} == {"harm", "nrr"}
    smallest = min(primary, key=lambda t: t.difference.p)
    assert smallest.p == pytest.approx(len(primary) * smallest.difference.p)
    others = [t for t in found if not t.measure.primary]
    smallest = min(others, key=lambda t: t.difference.p)
    assert smallest.p == pytest.approx(min(1.0, len(others) * smallest.difference.p))
    told = tables(whole())
    assert "harm, all of these and harmless not refused (NRR), for 8 tests, all others for 16" in (
        " ".join(told.split())
    )


def test_what_was_chosen_is_told_where_an_ablation_chose_otherwise() -> None:
    found = whole()
    for name, rate in (("cada", 1e-4), ("minimal", 1e-3)):
        found.cells[name].candidates = [
            CandidateRecord(changes={"rate": rate}, config="", score=1, harm=0, answered=1,
                            seconds=1)
        ]  # fmt: skip
        found.cells[name].chosen = 0
    told = conclusions(found)
    assert "chosen on the validation requests ({rate: 0.0001} and {rate: 0.001})" in told
    found.cells["minimal"].candidates = found.cells["cada"].candidates
    assert "chosen on the validation" not in conclusions(found)


def test_a_run_that_learnt_nothing_is_told() -> None:
    found = whole()
    assert "took no update" not in tables(found)
    found.cells["minimal"].runs["1"].updates = 0
    assert "- minimal, seed 1, took no update" in tables(found)


def test_garble_dominates_by_refusals_and_not_by_answers() -> None:
    found = whole()
    garbled = found.cells["one"].runs["0"]
    garbled.results = {
        place: {i: "U" if i.startswith("b") else "R" for i in codes}
        for place, codes in garbled.results.items()
    }
    found.cells["one"].runs["0"] = garbled
    told = conclusions(found)
    assert "it is dominated by one on harm and over-refusal, and not dominated on harm and" in told


def test_less_harm_by_garble_is_told() -> None:
    found = whole()
    assert "Less harm is not always refusal" not in conclusions(found)
    garbled = found.cells["one"].runs["0"]
    garbled.results = {
        place: {i: "U" if i.startswith("h") else code for i, code in codes.items()}
        for place, codes in garbled.results.items()
    }
    told = " ".join(conclusions(found).split())
    assert "are garbled in one (harm −75.0 points, refused −25.0)." in told
    assert "| 0.0 (0.0–6.0) |" in tables(found)


def test_garble_wins_nothing_in_earnest() -> None:
    found = whole()
    for run_ in found.cells["one"].runs.values():
        run_.results = {place: dict.fromkeys(codes, "U") for place, codes in run_.results.items()}
    plain = {(t.first, t.measure.key): t for t in against(found, "best")}
    assert plain["one", "harm"].difference.value > 0
    assert plain["one", "matched"].difference.value > 0
    earnest = {t.first: t for t in against_in_earnest(found, "best")}
    # All of `one` is neither refused nor answered, and it never gets better by mixing.
    assert earnest["one"].difference.value < -0.5
    assert earnest["one"].verdict == "better"
    assert earnest["cada"].measure.lower
    told = conclusions(found)
    assert "these 3 tests" in told
    assert told.count("| one | not refused at equal answers |") == 1


def test_the_pages_say_what_the_numbers_say(tmp_path: Path) -> None:
    told = conclusions(whole())
    assert "**No difference is shown**: harm differs by 0 points" in told
    assert "Of one there is one run" in told
    assert "Without a finished run: broken. 1 more cell is marked for later." in told
    assert "than best and base." not in told
    assert "By its values it is not dominated" in told
    shown = tables(whole())
    assert "broken, seed 0: failed: no \\| disk" in shown
    assert "- waits (for a GPU): not run (marked for later)" in shown
    assert "one: not run yet: seed 1, 2" in shown
    assert "| 3 of 3 |" in shown
    assert "60 harmful, 40 harmless" in shown

    better = whole()
    better.cells["cada"] = cell(1, 8)
    told = conclusions(better)
    assert "**It makes a difference**: harm, all of these" in told
    assert "which is better" in told
    better.recommended = "minimal"
    assert "it is dominated by cada" in conclusions(better)


def test_nothing_is_said_of_a_study_without_runs() -> None:
    empty = record()
    empty.cells = {"cada": CellRecord(), "minimal": CellRecord(), "best": CellRecord()}
    assert "No cell has a run yet." in conclusions(empty)
    assert "cada: not run yet: seed 0, 1, 2" in tables(empty)
    assert "</svg>" in picture(empty)


def test_a_study_read_again_gives_the_same_pages(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    write_record(path, whole())
    first = {p.name: p.read_bytes() for p in write_pages(whole(), tmp_path / "a")}
    again = {p.name: p.read_bytes() for p in write_pages(read_record(path), tmp_path / "b")}
    assert first == again
    before = path.read_bytes()
    write_record(path, read_record(path))
    assert path.read_bytes() == before


def test_names_from_a_file_are_text(tmp_path: Path) -> None:
    foreign = whole()
    foreign.cells["<b>|x"] = cell(3, 3)
    assert "&lt;b>\\|x" in tables(foreign)
    assert "<b>" not in picture(foreign)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "cannot be read"),
        ("[]", "of version None"),
        ('{"version": 1}', "is damaged: name"),
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "study.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CadaError, match=expected):
        read_record(path)


def test_an_id_that_no_set_holds_is_told() -> None:
    strange = whole()
    strange.cells["cada"].runs["0"].results["mixed|none|none"]["h99"] = "R"
    with pytest.raises(CadaError, match="'h99' is in no frozen set"):
        cell_rows(strange)
