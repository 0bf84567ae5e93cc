import json
from pathlib import Path

import pytest

from cada.errors import CadaError
from cada.reporting.load import load_run
from tests.reporting.runs import answers as make_answers
from tests.reporting.runs import good_after, write_run


def test_reads_what_a_run_wrote(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert run.config["phases"][1]["name"] == "reinforce"
    assert run.environment["packages"] == {"torch": "2.13.0"}
    assert [m["step"] for m in run.metrics] == [1, 2, 3, 4, 5]
    assert {row["model"] for row in run.rows} == {"before", "after"}
    assert run.after == tuple(make_answers(good_after))
    assert run.stopped is None


def test_metrics_answers_and_environment_may_be_missing(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run").folder
    for name in ("metrics.jsonl", "answers-before.jsonl", "answers-after.jsonl"):
        (folder / name).unlink()
    (folder / "environment.json").unlink()
    run = load_run(folder)
    assert (run.metrics, run.before, run.after, run.environment) == ([], (), (), {})


def test_a_rollback_is_read_from_the_last_line_of_the_metrics(tmp_path: Path) -> None:
    lines = [{"step": 1, "phase": "distil"}, {"step": 2, "phase": "distil", "stopped": "step 2: x"}]
    assert write_run(tmp_path / "run", lines=lines).stopped == "step 2: x"


def test_the_bare_request_is_the_main_mode_where_it_was_measured(tmp_path: Path) -> None:
    both = [*make_answers(good_after, mode="cases"), *make_answers(good_after)]
    assert write_run(tmp_path / "both", before=both, after=both).main_mode == "none"
    cases = make_answers(good_after, mode="cases")
    assert write_run(tmp_path / "cases", before=cases, after=cases).main_mode == "cases"


@pytest.mark.parametrize("missing", ["config.yaml", "evaluation.json"])
def test_a_folder_that_is_no_run(tmp_path: Path, missing: str) -> None:
    folder = write_run(tmp_path / "run").folder
    (folder / missing).unlink()
    with pytest.raises(CadaError, match=f"no finished run: there is no {missing}") as caught:
        load_run(folder)
    assert caught.value.where == str(folder)
    assert caught.value.mend


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match="no finished run"):
        load_run(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.yaml", "a: [", "it is no YAML"),
        ("config.yaml", "model: x\n", "it holds no recipe with phases"),
        ("evaluation.json", "{", "it is no JSON"),
        ("evaluation.json", "[]", "it holds no JSON object"),
        ("evaluation.json", "{}", "it holds no rows"),
        ("evaluation.json", '{"rows": [{"model": "before"}]}', "a row has no benchmark"),
        ("answers-after.jsonl", '{"mode": "none"}\n', "no answer as this version writes it"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    folder = write_run(tmp_path / "run").folder
    (folder / name).write_text(text)
    with pytest.raises(CadaError, match=said) as caught:
        load_run(folder)
    assert caught.value.where == str(folder / name)


def test_an_evaluation_of_one_model_is_no_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run").folder
    data = json.loads((folder / "evaluation.json").read_text())
    rows = [row | {"model": "some/model"} for row in data["rows"]]
    (folder / "evaluation.json").write_text(json.dumps({"rows": rows}))
    with pytest.raises(CadaError, match="`before` or `after`"):
        load_run(folder)
