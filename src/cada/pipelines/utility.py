"""`cada utility`: GSM8K, BBH and MMLU through lm-evaluation-harness."""

import json
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cada.evaluation.metrics import Row
from cada.evaluation.utility.measure import measure, rows_of, subtasks_of
from cada.evaluation.utility.responses import Responses
from cada.evaluation.utility.tasks import harness, load_tasks
from cada.files import held, write_json, write_text
from cada.models.fingerprint import fingerprint
from cada.models.load import load_policy
from cada.pipelines.claim import claim
from cada.pipelines.evaluate import Watcher
from cada.prompting.deliberation import FormatStyle


@dataclass(frozen=True)
class Utility:
    """What to measure of which model."""

    model: str
    benchmarks: tuple[str, ...]
    data: str | None
    limit: int | None
    max_tokens: int
    style: str
    device: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data that tells two measurements apart."""
        return asdict(self) | {
            "benchmarks": list(self.benchmarks),
            "weights": fingerprint(self.model),
            "harness": harness(),
        }


@dataclass(frozen=True)
class Result:
    """The table, and the scores by subtask."""

    rows: list[Row]
    subtasks: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `evaluation.json` holds it."""
        return {"rows": [row.as_dict() for row in self.rows], "subtasks": self.subtasks}


def utility(job: Utility, out: Path | None, watcher: Watcher) -> Result:
    """Measure and tabulate; with `out`, keep every response, every item's score and the table.

    Raises:
        CadaError: the harness is not installed, bad input, or an `out` that holds another
            measurement.
    """
    plain = job.as_dict()
    data = None if job.data is None else Path(job.data)
    tasks = {name: load_tasks(name, data) for name in job.benchmarks}
    if out is not None:
        claim(out, plain, "a measurement of utility")
    watcher.stage(f"loading {job.model}")
    policy = load_policy(job.model, device=job.device)
    rows: list[Row] = []
    subtasks: list[dict[str, Any]] = []
    with ExitStack() as stack:
        place = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(held(place))
        responses = Responses(place / "responses.jsonl")
        for name in job.benchmarks:
            watcher.stage(f"answering {name}")
            items = measure(
                policy,
                tasks[name],
                limit=job.limit,
                max_tokens=job.max_tokens,
                style=FormatStyle(job.style),
                responses=responses,
                progress=lambda done, total, name=name: watcher.measured(name, done, total),
            )
            lines = [json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in items]
            write_text(place / f"items-{name}.jsonl", "".join(lines))
            rows += rows_of(items, name, job.model)
            subtasks += subtasks_of(items)
        result = Result(rows, subtasks)
        write_json(place / "evaluation.json", result.as_dict())
    return result
