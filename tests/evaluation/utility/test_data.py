"""Files in the benchmarks' original layout."""

from pathlib import Path

import pytest

from cada.errors import CadaError
from cada.evaluation.utility.data import read_bbh, read_gsm8k, read_mmlu
from tests.evaluation.utility import files

DATA = Path(__file__).parents[3] / "../shared/data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write(tmp_path_factory.mktemp("data"))


def test_rows_in_the_hubs_schema(folder: Path) -> None:
    assert read_gsm8k(folder, "gsm8k") == files.SUMS
    assert read_bbh(folder, "navigate") == {"test": files.riddles("navigate")}
    assert read_mmlu(folder, "anatomy") == {
        "dev": files.questions("anatomy", "dev", 5),
        "test": files.questions("anatomy", "test", 2),
    }


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match=r"gsm8k/train\.jsonl: .*no such file.*--data expects"):
        read_gsm8k(tmp_path, "gsm8k")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "q"}', "line 2: expected an object with question and answer"),
        ('{"question": "q", "answer": 4}', "line 2: expected an object"),
        ("[1]", "line 2: expected an object"),
        ("no JSON", "line 2: expected an object"),
    ],
)
def test_a_bad_line_of_gsm8k(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "gsm8k").mkdir()
    good = '{"question": "q", "answer": "a"}\n'
    (tmp_path / "gsm8k/train.jsonl").write_text(good + line + "\n", encoding="utf-8")
    with pytest.raises(CadaError, match=message):
        read_gsm8k(tmp_path, "gsm8k")


@pytest.mark.parametrize("text", ['{"examples": [{"input": "x"}]}', "[]", "{", '{"examples": 4}'])
def test_a_bad_file_of_bbh(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bbh/bbh/navigate.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CadaError, match="expected an object with `examples`"):
        read_bbh(tmp_path, "navigate")


@pytest.mark.parametrize("line", ["q,1,2,3,4,0", "q,1,2,3,A", "question,A,B,C,D,answer", "q"])
def test_a_bad_line_of_mmlu(tmp_path: Path, line: str) -> None:
    path = tmp_path / "mmlu/dev/anatomy_dev.csv"
    path.parent.mkdir(parents=True)
    path.write_text(f"q,1,2,3,4,D\n{line}\n", encoding="utf-8")
    with pytest.raises(CadaError, match="line 2: expected a question, four choices and a letter"):
        read_mmlu(tmp_path, "anatomy")


def test_a_file_without_items(tmp_path: Path) -> None:
    path = tmp_path / "bbh/bbh/navigate.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"examples": []}', encoding="utf-8")
    with pytest.raises(CadaError, match="holds no item"):
        read_bbh(tmp_path, "navigate")


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
def test_the_whole_benchmarks_are_read() -> None:
    gsm8k = read_gsm8k(DATA, "gsm8k")
    assert (len(gsm8k["train"]), len(gsm8k["test"])) == (7473, 1319)
    assert sum(len(read_bbh(DATA, subtask)["test"]) for subtask in files.SUBTASKS) == 6511
    mmlu = [read_mmlu(DATA, subject) for subject in files.SUBJECTS]
    assert sum(len(each["test"]) for each in mmlu) == 14_042
    assert {len(each["dev"]) for each in mmlu} == {5}
