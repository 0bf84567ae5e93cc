"""The metrics of `cada evaluate`, with their intervals, over inspect_ai's scores."""

from inspect_ai.log import EvalLog
from inspect_ai.scorer import Metric, SampleScore, metric

from cada.evaluation.answers import Answer
from cada.evaluation.inspect.names import named
from cada.evaluation.metrics import tabulate

ANSWER = "answer"
"""Where a score's metadata holds the judged answer."""


@metric(name=named("rates"), scores="unreduced")
def rates() -> Metric:
    """Every metric of `evaluation.json` under its name, with `_low`, `_high` and `_n`.

    inspect_ai leaves unscored answers out before, and counts them itself.
    """

    def compute(scores: list[SampleScore]) -> dict[str, float]:
        answers = [Answer(**score.score.metadata[ANSWER]) for score in scores]
        found: dict[str, float] = {}
        for row in tabulate(answers, "", answers[0].judge if answers else ""):
            if row.hazard is None and row.value is not None:
                values = {"": row.value, "_low": row.ci_low, "_high": row.ci_high, "_n": row.n}
                found |= {row.metric + end: v for end, v in values.items() if v is not None}
        return found

    return compute


def answers_of(log: EvalLog) -> list[Answer]:
    """The judged answers in a log, as `answers.jsonl` holds them, unscored ones included."""
    return [
        Answer(**score.metadata[ANSWER])
        for sample in log.samples or ()
        for score in (sample.scores or {}).values()
        if score.metadata and ANSWER in score.metadata
    ]
