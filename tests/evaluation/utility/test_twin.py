"""The same prompts, answers and scores as the harness has with its own model and the hub's data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cada.evaluation.utility.data import read_bbh, read_gsm8k, read_mmlu
from cada.evaluation.utility.measure import Item, measure, rows_of
from cada.evaluation.utility.responses import Responses
from cada.evaluation.utility.tasks import BENCHMARKS, load_tasks
from cada.models.load import load_policy
from cada.prompting.deliberation import FormatStyle
from tests.evaluation.utility import files

DATA = Path(__file__).parents[3] / "../shared/data"
# The harness's own names, for its command line.
TASKS = {
    "gsm8k": ["gsm8k"],
    "bbh": ["bbh_zeroshot_dyck_languages", "bbh_zeroshot_word_sorting"],
    "mmlu": ["mmlu_anatomy", "mmlu_world_religions"],
}
TOKENS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write(tmp_path_factory.mktemp("data"))


def shipped(name: str) -> Path:
    """The harness's own task files; it takes seconds to look through all of them."""
    from lm_eval import tasks

    return Path(tasks.__file__).parent / BENCHMARKS[name].files


def ours(model: Path, name: str, data: Path, limit: int, among: list[str]) -> list[Item]:
    tasks = {task: each for task, each in load_tasks(name, data).items() if task in among}
    return measure(
        load_policy(str(model), device="cpu"),
        tasks,
        limit=limit * len(among),
        max_tokens=TOKENS,
        style=FormatStyle.HEADINGS,
        responses=Responses(),
    )


def theirs(
    model: Path, name: str, hub: Callable[..., Any], limit: int, monkeypatch: pytest.MonkeyPatch
) -> dict[str, list[dict[str, Any]]]:
    """Their model on their task files; only the download is replaced."""
    import datasets
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr(datasets, "load_dataset", hub)
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    found = simple_evaluate(
        HFLM(pretrained=str(model), device="cpu", batch_size=1),
        tasks=TASKS[name],
        task_manager=TaskManager(include_path=shipped(name), include_defaults=False),
        num_fewshot=BENCHMARKS[name].shots,
        limit=limit,
        apply_chat_template=True,
        gen_kwargs={"max_gen_toks": TOKENS},
        bootstrap_iters=0,
    )
    samples: dict[str, list[dict[str, Any]]] = found["samples"]
    return samples


@pytest.mark.parametrize("name", BENCHMARKS)
def test_prompts_answers_and_scores(
    tiny_folder: Path, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = ours(tiny_folder, name, folder, 2, TASKS[name])
    hub = files.hub(
        files.SUMS,
        files.riddles,
        lambda subject, split: files.questions(subject, split, 5 if split == "dev" else 2),
    )
    samples = theirs(tiny_folder, name, hub, 2, monkeypatch)
    assert len(items) == 2 * len(TASKS[name])
    for item in items:
        for sample in samples[item.task]:
            if sample["doc_id"] != item.item:
                continue
            assert item.prompt == sample["arguments"][0][0]
            assert item.target == str(sample["target"])
            if BENCHMARKS[name].generated:
                assert item.scored[sample["filter"]] == sample["filtered_resps"][0]
                assert item.scores[f"exact_match,{sample['filter']}"] == sample["exact_match"]
            else:
                logprobs = [reply[0][0] for reply in sample["resps"]]
                assert item.answer == pytest.approx(logprobs, abs=1e-4)
                assert item.scores == {"acc": sample["acc"]}


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_prompts_on_the_real_items(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from lm_eval.tasks import TaskManager

    here = load_tasks(name, DATA)
    hub = files.hub(
        read_gsm8k(DATA, "gsm8k"),
        lambda subtask: read_bbh(DATA, subtask)["test"],
        lambda subject, split: read_mmlu(DATA, subject)[split],
    )
    monkeypatch.setattr(datasets, "load_dataset", hub)
    manager = TaskManager(include_path=shipped(name), include_defaults=False)
    their_own = manager.load(TASKS[name])["tasks"]
    for task, each in their_own.items():
        each.set_config(key="num_fewshot", value=BENCHMARKS[name].shots)
        each.set_fewshot_seed(seed=1234)
        for one in (each, here[task]):
            one.build_all_requests(limit=25)
        assert [i.args for i in here[task].instances] == [i.args for i in each.instances]
        assert len(each.instances) >= 25


def test_rates_are_over_all_items() -> None:
    def item(task: str, n: int, score: float) -> Item:
        return Item(task, n, "", "", [0.0], None, {}, {"acc": score})

    items = [item("a", n, 1.0) for n in range(3)] + [item("b", 0, 0.0)]
    (row,) = rows_of(items, "mmlu", "model")
    assert (row.benchmark, row.metric, row.value, row.n) == ("mmlu", "acc", 0.75, 4)
    assert row.ci_low == pytest.approx(0.30064, abs=1e-5)
    assert row.ci_high == pytest.approx(0.95441, abs=1e-5)
    assert row.judge.startswith("lm-eval:")
