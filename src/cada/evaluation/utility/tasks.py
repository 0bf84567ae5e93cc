"""lm-evaluation-harness's own tasks, as they come, on the hub's data or on a folder's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cada.errors import CadaError
from cada.evaluation.utility.data import Rows, read_bbh, read_gsm8k, read_mmlu

# The harness's default seed for drawing few-shot examples.
_FEWSHOT_SEED = 1234


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as the paper measures it.

    `files` is the harness's folder with its task files, `tasks` the pattern of its tasks' names
    there; what follows `prefix` in a name is the subtask. `generated` tells whether the model
    writes an answer or its choices' log-likelihoods are compared.
    """

    files: str
    tasks: str
    prefix: str
    shots: int
    generated: bool
    read: Callable[[Path, str], Rows]


BENCHMARKS = {
    "gsm8k": Benchmark("gsm8k", "gsm8k", "", 5, True, read_gsm8k),
    "bbh": Benchmark("bbh/zeroshot", "bbh_zeroshot_*", "bbh_zeroshot_", 0, True, read_bbh),
    "mmlu": Benchmark("mmlu/default", "mmlu_*", "mmlu_", 5, False, read_mmlu),
}


def harness() -> str:
    """The harness's name and version, as rows name it.

    Raises:
        CadaError: it is not installed.
    """
    try:
        import lm_eval  # noqa: F401
    except ModuleNotFoundError as error:
        raise CadaError(
            "utility is measured with lm-evaluation-harness, which is not installed",
            mend="Install it with: pip install 'cada-align[eval]'",
        ) from error
    return f"lm-eval:{version('lm_eval')}"


def load_tasks(name: str, data: Path | None) -> dict[str, Any]:
    """The harness's tasks of one benchmark under their names, ready to be run.

    Nothing of them is changed but the number of examples (the paper's) and, with `data`, where
    the rows come from.

    Args:
        name: one of `BENCHMARKS`.
        data: a folder with the original files; None fetches the rows from the hub.

    Raises:
        CadaError: a file is missing or wrong, or the hub cannot be reached.
    """
    from lm_eval import tasks as shipped
    from lm_eval.tasks import TaskManager

    benchmark = BENCHMARKS[name]
    files = Path(shipped.__file__).parent / benchmark.files
    manager = TaskManager(include_path=files, include_defaults=False)
    names = [task for task in manager.all_subtasks if fnmatch(task, benchmark.tasks)]
    changes: list[dict[str, Any]] = []
    for task in names:
        change: dict[str, Any] = {"task": task, "num_fewshot": benchmark.shots}
        if data is not None:
            rows = benchmark.read(data, task.removeprefix(benchmark.prefix))
            change["custom_dataset"] = _source(rows)
        changes.append(change)
    try:
        # only the members of a group are merged with the task files that they name
        loaded = manager.load([{"group": f"cada_{name}", "task": changes}])["tasks"]
    except OSError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CadaError(
            f"the benchmark's data cannot be fetched ({lines[0].rstrip('.')[:200]})",
            where=name,
            mend="Go online, or give a folder that holds it with --data",
        ) from error
    for task in loaded.values():
        task.set_fewshot_seed(seed=_FEWSHOT_SEED)
        for pipeline in task._filters:
            pipeline.filters = [partial(_Steady, each) for each in pipeline.filters]
    return {task: loaded[task] for task in names}


def spread(sizes: dict[str, int], limit: int) -> dict[str, list[int]]:
    """The first items of each task, `limit` in all, as evenly over the tasks as their sizes allow.

    Tasks that get none are left out.
    """
    counts = dict.fromkeys(sizes, 0)
    left = min(limit, sum(sizes.values()))
    while left:
        for task, size in sizes.items():
            if left and counts[task] < size:
                counts[task] += 1
                left -= 1
    return {task: list(range(n)) for task, n in counts.items() if n}


class _Steady:
    """A filter of the harness that gives its `[invalid]` for an answer on which it raises.

    Some read numbers in words and raise on "million million", which small models do write.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._filter = make()

    def apply(self, responses: Sequence[Any], docs: Sequence[Any]) -> list[Any]:
        """What the filter makes of each item's responses."""
        found = []
        for response, doc in zip(responses, docs, strict=True):
            try:
                found += self._filter.apply([response], [doc])
            except (ValueError, IndexError):
                found.append(["[invalid]"] * len(response))
        return found


def _source(rows: Rows) -> Callable[..., Any]:
    """What the harness calls in place of loading a data set."""

    def splits(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {split: Dataset.from_list(each) for split, each in rows.items()}

    return splits
