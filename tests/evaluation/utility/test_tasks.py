"""The harness's tasks and which items are taken."""

from pathlib import Path
from typing import Any

import pytest

from cada.errors import CadaError
from cada.evaluation.utility.tasks import BENCHMARKS, load_tasks, spread
from tests.evaluation.utility import files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(("name", "count"), [("gsm8k", 1), ("bbh", 27), ("mmlu", 57)])
def test_every_subtask_with_the_papers_examples(folder: Path, name: str, count: int) -> None:
    tasks = load_tasks(name, folder)
    assert len(tasks) == count
    assert {each.config.num_fewshot for each in tasks.values()} == {BENCHMARKS[name].shots}


def test_without_a_network_the_folder_is_recommended() -> None:
    with pytest.raises(CadaError, match=r"bbh: .*cannot be fetched.*--data"):
        load_tasks("bbh", None)


@pytest.mark.parametrize(
    ("limit", "counts"),
    [(1, {"a": 1}), (5, {"a": 2, "b": 1, "c": 2}), (9, {"a": 4, "b": 1, "c": 2})],
)
def test_a_limit_is_spread(limit: int, counts: dict[str, int]) -> None:
    taken = spread({"a": 4, "b": 1, "c": 2}, limit)
    assert {task: len(items) for task, items in taken.items()} == counts
    assert all(items == list(range(len(items))) for items in taken.values())


def test_an_answer_on_which_a_filter_raises_is_wrong_and_no_more(folder: Path) -> None:
    task: Any = load_tasks("bbh", folder)["bbh_zeroshot_object_counting"]
    task.build_all_requests()
    for instance, text in zip(task.instances, ("million million", "two", "12"), strict=True):
        instance.resps.append(text)
    task.apply_filters()
    found = [i.filtered_resps["flexible-extract"] for i in task.instances]
    assert found == ["[invalid]", "2", "12"]
