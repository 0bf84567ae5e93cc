"""Run the harness on one benchmark: every item's score, and the benchmark's rows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cada.evaluation.metrics import Row, row_of
from cada.evaluation.utility.responses import Responses
from cada.evaluation.utility.tasks import BENCHMARKS, harness, spread
from cada.models.load import Policy
from cada.prompting.deliberation import FormatStyle
from cada.rollout.types import Engine
from cada.stats import wilson


@dataclass(frozen=True)
class Item:
    """One scored item; the public row of `items-BENCHMARK.jsonl`.

    `prompt` is the text that the model saw, `answer` what it gave: its whole output, or the
    log-probability of each choice. `scored` is what each of the harness's filters made
    of its final response, `scores` what the harness gave for that, under `METRIC,FILTER`.
    """

    task: str
    item: int
    prompt: str
    target: str
    answer: str | list[float]
    finish_reason: str | None
    scored: dict[str, str]
    scores: dict[str, float]


def measure(
    policy: Policy,
    tasks: dict[str, Any],
    *,
    limit: int | None,
    max_tokens: int,
    style: FormatStyle,
    responses: Responses,
    progress: Any = None,
    engine: Engine | None = None,
) -> list[Item]:
    """Every item with its scores, greedy (temperature 0, the paper's).

    Args:
        policy: the model under test.
        tasks: of one benchmark, from `load_tasks`; they take one measurement.
        limit: so many items in all, spread evenly over the subtasks; None takes all.
        max_tokens: longest generated answer, reasoning included.
        style: how the reasoning is marked that is taken off.
        responses: what the model gave before.
        progress: is told how many requests have their response, of how many.
        engine: generates; our own where None.

    Raises:
        CadaError: a prompt does not fit into the model's context.
    """
    from lm_eval.evaluator import evaluate

    from cada.evaluation.utility.lm import PolicyLM

    samples = None
    if limit is not None:
        samples = spread({task: len(each.eval_docs) for task, each in tasks.items()}, limit)
        tasks = {task: tasks[task] for task in samples}
    lm = PolicyLM(policy, style, max_tokens, responses, progress, engine)
    found = evaluate(
        lm,
        {"tasks": tasks},
        samples=samples,
        bootstrap_iters=0,
        log_samples=True,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
    )
    return [item for task in tasks for item in _items(task, found["samples"][task], lm)]


def rows_of(items: Iterable[Item], name: str, label: str) -> list[Row]:
    """A benchmark's rows of `evaluation.json`: rates over all items, whatever their subtask, so
    that large subtasks weigh more, as in the harness's own group scores."""
    items = list(items)
    judge = harness()
    hits: dict[str, list[bool]] = {}
    for item in items:
        for metric, score in item.scores.items():
            hits.setdefault(metric, []).append(score == 1)
    if BENCHMARKS[name].generated:
        hits["truncated"] = [item.finish_reason == "length" for item in items]
    return [
        row_of(label, name, "none", metric, wilson(sum(each), len(each)), 0, judge)
        for metric, each in hits.items()
    ]


def subtasks_of(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Each subtask's number of items and its scores."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.task, []).append(item)
    return [
        {
            "task": task,
            "n": len(group),
            **{m: sum(i.scores[m] for i in group) / len(group) for m in group[0].scores},
        }
        for task, group in groups.items()
    ]


def _items(task: str, samples: list[dict[str, Any]], lm: Any) -> Iterator[Item]:
    """The harness has one sample an item and filter; they are put together."""
    by_item: dict[int, list[dict[str, Any]]] = {}
    for sample in samples:
        by_item.setdefault(sample["doc_id"], []).append(sample)
    for index, own in by_item.items():
        first = own[0]
        requests, replies = first["arguments"], first["resps"]
        written = isinstance(replies[0][0], str)
        response = lm.generated(requests[0]) if written else None
        yield Item(
            task=task,
            item=index,
            prompt=requests[0][0],
            target=str(first["target"]),
            answer=[float(reply[0][0]) for reply in replies] if response is None else response.text,
            finish_reason=None if response is None else response.finish_reason,
            scored={} if response is None else {s["filter"]: s["filtered_resps"][0] for s in own},
            scores={_named(m, s["filter"]): float(s[m]) for s in own for m in s["metrics"]},
        )


def _named(metric: str, filtered: str) -> str:
    """The harness's `METRIC,FILTER`; it calls it `none` where a task has no filter."""
    return metric if filtered == "none" else f"{metric},{filtered}"
