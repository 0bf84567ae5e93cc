"""What is paired with what, and what may be compared at all."""

from dataclasses import replace
from pathlib import Path

import pytest

from cada.errors import CadaError
from cada.evaluation.answers import Answer
from cada.reporting.compare.load import Measured, load_models
from cada.reporting.compare.table import Line, as_rows, check_comparable, table
from cada.stats import holm, paired_means, paired_rates
from tests.reporting.runs import (
    answers,
    changed,
    good_after,
    good_before,
    write_evaluation,
    write_run,
)


def two(tmp_path: Path, first: list[Answer], second: list[Answer]) -> list[Measured]:
    folders = [write_evaluation(tmp_path / n, a) for n, a in (("one", first), ("two", second))]
    return load_models([str(f) for f in folders])


def line(lines: list[Line], metric: str, attack: str = "none") -> Line:
    (found,) = [n for n in lines if (n.metric, n.attack) == (metric, attack)]
    return found


def test_an_aligned_run_is_two_models(tmp_path: Path) -> None:
    write_run(tmp_path / "demo")
    write_evaluation(tmp_path / "other", answers(good_after))
    assert [m.name for m in load_models([str(tmp_path / "demo")])] == ["before", "after"]
    several = load_models([str(tmp_path / "demo"), f"x={tmp_path / 'other'}"])
    assert [m.name for m in several] == ["demo before", "demo after", "x"]
    assert {m.judge for m in several} == {"rules"}


def test_folders_of_one_name_are_told_apart_by_their_path(tmp_path: Path) -> None:
    for name in ("a/run", "b/run"):
        write_evaluation(tmp_path / name, answers(good_after))
    models = load_models([str(tmp_path / "a/run"), str(tmp_path / "b/run")])
    assert [m.name for m in models] == ["a/run", "b/run"]


def test_values_and_paired_differences(tmp_path: Path) -> None:
    models = two(tmp_path, answers(good_before), answers(good_after))
    lines = table(models)
    asr = line(lines, "asr")
    first, second = (cell.value for cell in asr.cells)
    assert first is not None
    assert second is not None
    assert (first.value, second.value) == (1.0, 0.1)
    expected = paired_rates([True] * 20, [i >= 18 for i in range(20)])
    assert asr.cells[1].difference == expected
    assert asr.cells[0].difference is None
    assert asr.judgement(asr.cells[1]) == "better"
    nrr = line(lines, "nrr").cells[1]
    assert nrr.difference is not None
    assert nrr.difference.value == pytest.approx(-1 / 40)
    assert line(lines, "nrr").judgement(nrr) == "unclear"


def test_p_values_are_corrected_over_the_whole_table(tmp_path: Path) -> None:
    lines = table(two(tmp_path, answers(good_before), answers(good_after)))
    cells = [cell for n in lines for cell in n.cells if cell.difference]
    raw = [cell.difference.p for cell in cells if cell.difference]
    assert len(raw) == 7
    assert [cell.p for cell in cells] == holm(raw)


def test_graded_harm_is_compared_as_a_mean(tmp_path: Path) -> None:
    sides = []
    for step in (2, 4):
        some = answers(good_before)
        for i, a in enumerate(some):
            if a.kind == "harmful":
                some = changed(some, i, harm=(i % step) / 8)
        sides.append(some)
    asr = line(table(two(tmp_path, *sides)), "asr").cells[1]
    slight, more = ([(i % step) / 8 for i in range(20)] for step in (2, 4))
    assert asr.difference == paired_means(slight, more)


def test_only_requests_that_both_answered_and_the_judge_scored_are_paired(tmp_path: Path) -> None:
    first, second = answers(good_before), answers(good_after)
    first = changed(first, 0, outcome="unscored")
    second = [a for a in second if a.request_id != "harmful-19"]
    asr = line(table(two(tmp_path, first, second)), "asr")
    assert [(c.value.n if c.value else 0, c.n_unscored) for c in asr.cells] == [(19, 1), (19, 0)]
    assert asr.cells[1].difference is not None
    assert asr.cells[1].difference.n == 18
    notes = check_comparable(two(tmp_path, first, second))
    assert any("1 answers" in note and "no partner" in note for note in notes)


def test_one_id_for_two_texts_is_no_pair(tmp_path: Path) -> None:
    second = [replace(a, request=f"another {a.request}") for a in answers(good_after)]
    with pytest.raises(CadaError, match="no request was put to both 'one' and 'two'"):
        check_comparable(two(tmp_path, answers(good_before), second))


def test_two_judges_are_not_compared(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", answers(good_before))
    other = write_evaluation(tmp_path / "other", answers(good_after), judge="harm-v1")
    with pytest.raises(CadaError, match="judged by rules and 'other' by harm-v1"):
        check_comparable(load_models([str(one), str(other)]))


def test_unlike_measurements_are_told(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", answers(good_before))
    other = write_evaluation(tmp_path / "other", answers(good_after), max_tokens=512)
    (note,) = check_comparable(load_models([str(one), str(other)]))
    assert "longest answer 64 of 'one', 512 of 'other'" in note


def test_attacks_in_other_words_are_told(tmp_path: Path) -> None:
    attacked = [replace(a, attack="pap", sent=f"Please. {a.sent}") for a in answers(good_before)]
    other = changed(attacked, 0, sent="Kindly.")
    (note,) = check_comparable(two(tmp_path, attacked, other))
    assert "1 requests were attacked in other words" in note


def test_an_attack_that_one_model_did_not_meet_has_a_value_and_no_difference(
    tmp_path: Path,
) -> None:
    attacked = [replace(a, attack="pap") for a in answers(good_before) if a.kind == "harmful"]
    models = two(tmp_path, answers(good_before), [*answers(good_after), *attacked])
    asr = line(table(models), "asr", "pap")
    assert asr.cells[0].value is None
    assert asr.cells[1].value is not None
    assert asr.cells[1].difference is None
    rows = as_rows(models, [asr])
    assert [(r["value"], r["n"], r["n_pairs"]) for r in rows] == [(None, 0, 0), (1.0, 20, 0)]


def test_an_answer_that_was_had_late_replaces_the_one_that_failed(tmp_path: Path) -> None:
    whole = answers(good_after)
    failed = replace(whole[0], outcome="unscored", finish_reason="error")
    models = two(tmp_path, whole, [failed, *whole])
    assert len(models[1].answers) == len(whole)
    assert line(table(models), "asr").cells[1].n_unscored == 0


def test_bad_runs_are_told(tmp_path: Path) -> None:
    good = write_evaluation(tmp_path / "good", answers(good_after))

    def fails(*runs: Path | str) -> str:
        with pytest.raises(CadaError) as caught:
            load_models([str(run) for run in runs])
        return str(caught.value)

    assert "there is no config.yaml" in fails(good, tmp_path / "nowhere")
    assert "nothing to be compared with" in fails(good)
    assert "two models are called 'a'" in fails(f"a={good}", f"a={good}")
    unfinished = write_evaluation(tmp_path / "unfinished", answers(good_after))
    (unfinished / "evaluation.json").unlink()
    assert "there is no evaluation.json" in fails(good, unfinished)
    empty = write_evaluation(tmp_path / "empty", answers(good_after))
    (empty / "answers.jsonl").write_text("")
    assert "no answer in the file" in fails(good, empty)
    (empty / "answers.jsonl").write_text('{"request": "?"}\n')
    assert "no answer as this version writes it" in fails(good, empty)
    (empty / "evaluation.json").write_text('{"rows": [{}]}')
    assert "a row has no model" in fails(good, empty)
