"""Judges as scorers."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING

from inspect_ai.scorer import Score, Scorer, Target, scorer

from cada.attacks.types import Attempt
from cada.config.judge import parse_judge
from cada.evaluation.answers import Answer
from cada.evaluation.answers import judged as judge_outputs
from cada.evaluation.api import read_output
from cada.evaluation.inspect.batches import Batcher
from cada.evaluation.inspect.metrics import ANSWER, rates
from cada.evaluation.inspect.names import named, told_in_one_line
from cada.evaluation.inspect.samples import attempt_of
from cada.evaluation.inspect.solvers import HOW, PROBLEM
from cada.evaluation.targets import Output
from cada.judging.make import make_judge
from cada.judging.verdict import Judge, Outcome
from cada.prompting.deliberation import FormatStyle

if TYPE_CHECKING:
    from inspect_ai.solver import TaskState

_Item = tuple[Output, Attempt, str, str, FormatStyle]


@scorer(metrics=[rates()], name=named("judged"))
def judged(judge: str = "refusal") -> Scorer:
    """Any judge: the score's value is the outcome, its explanation the reason.

    What the judge cannot score, and a question that got no answer, is unscored. The metadata
    holds the whole judged answer, the judge's own score included.

    Args:
        judge: as `cada evaluate --judge` takes it.
    """
    with told_in_one_line():
        options = parse_judge(judge)

    @cache
    def made() -> Judge:
        return make_judge(options)

    def run(items: Sequence[_Item]) -> list[Answer]:
        outputs, attempts, benchmarks, modes, styles = zip(*items, strict=True)
        alike = {(b, m, s) for b, m, s in zip(benchmarks, modes, styles, strict=True)}
        if len(alike) > 1:
            return [answer for item in items for answer in run([item])]
        ((benchmark, mode, style),) = alike
        return judge_outputs(outputs, style, made(), attempts, benchmark, mode)

    ask: Batcher[_Item, Answer] = Batcher(run)

    async def score(state: "TaskState", target: Target) -> Score:
        how = state.metadata.get(HOW, {})
        attempt = attempt_of(state)
        if problem := state.metadata.get(PROBLEM):
            output = Output(None, 0, "error", problem)
        else:
            output = read_output(state.output, attempt.prefill)
        answer = await ask(
            (
                output,
                attempt,
                str(state.metadata.get("benchmark", attempt.request.source)),
                how.get("mode", "none"),
                FormatStyle(how.get("style", FormatStyle.HEADINGS)),
            )
        )
        kept = {
            "answer": answer.response,
            "explanation": answer.reason,
            "metadata": {ANSWER: asdict(answer)},
        }
        if answer.outcome == Outcome.UNSCORED:
            reason = "no_response" if output.text is None else "grader_failed"
            return Score.unscored(reason=reason, **kept)
        return Score(value=answer.outcome, **kept)

    return score
