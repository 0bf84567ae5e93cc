"""The benchmarks, and requests of one's own, as inspect_ai tasks.

The parameters are those of `cada evaluate`, one mode and one attack a run; so are the samples,
the messages and the verdicts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inspect_ai import Task, task
from inspect_ai.model import GenerateConfig

from cada.attacks.named import attempts_of
from cada.attacks.types import NO_ATTACK
from cada.config.judge import parse_judge
from cada.config.sources import Columns, RequestSource
from cada.errors import CadaError
from cada.evaluation.api import Prefill
from cada.evaluation.inspect.names import named, told_in_one_line
from cada.evaluation.inspect.samples import to_sample
from cada.evaluation.inspect.scorers import judged
from cada.evaluation.inspect.solvers import attack as attack_solver
from cada.evaluation.inspect.solvers import check_mode, prompt, respond
from cada.judging.verdict import check_judge
from cada.prompting.deliberation import FormatStyle
from cada.requests.benchmarks import NAMES, benchmark_source
from cada.requests.sources import load_requests, source_name

Words = str | Sequence[str]


@dataclass(frozen=True)
class _How:
    mode: str
    attack: str
    judge: Words
    casebook: str
    classify: bool
    max_tokens: int
    limit: int | None
    prefill: Prefill


def _benchmark(name: str) -> Callable[..., Task]:
    @task(name=named(name))
    def benchmark(
        data: str | None = None,
        mode: str = "none",
        attack: str = "none",
        judge: Words = "refusal",
        casebook: str = "default",
        classify: bool = False,
        max_tokens: int = 128,
        limit: int | None = None,
        prefill: Prefill = "refuse",
    ) -> Task:
        how = _How(mode, attack, judge, casebook, classify, max_tokens, limit, prefill)
        with told_in_one_line():
            return _task(benchmark_source(name, data), how)

    made: Callable[..., Task] = benchmark
    return made


BENCHMARK_TASKS = {name: _benchmark(name) for name in NAMES}
"""Each benchmark's task under its name; `data` is a folder of benchmarks."""


@task(name=named("requests"))
def requests(
    file: str,
    harmful: bool | None = None,
    text_column: str | None = None,
    mode: str = "none",
    attack: str = "none",
    judge: Words = "refusal",
    casebook: str = "default",
    classify: bool = False,
    max_tokens: int = 128,
    limit: int | None = None,
    prefill: Prefill = "refuse",
) -> Task:
    """Requests of one's own, from a csv, jsonl, json or parquet file."""
    how = _How(mode, attack, judge, casebook, classify, max_tokens, limit, prefill)
    with told_in_one_line():
        source = RequestSource(path=file, harmful=harmful, columns=Columns(text=text_column))
        return _task(source, how)


def _task(source: RequestSource, how: _How) -> Task:
    """The task that asks these requests.

    Raises:
        CadaError: requests that cannot be loaded, an unknown mode or attack, or a judge that
            cannot judge these requests.
    """
    # inspect_ai's command line makes a list of what has commas
    judge = how.judge if isinstance(how.judge, str) else ",".join(how.judge)
    options = parse_judge(judge)
    asked = load_requests(source.model_copy(update={"limit": how.limit}))
    if how.attack != NO_ATTACK:  # attacks are put on harmful requests alone
        asked = [request for request in asked if request.harmful]
    check_mode(how.mode)
    check_judge(options.kind, options.harm_only, asked)
    attempts_of(how.attack, asked, FormatStyle.HEADINGS)  # so that a mistake is told at the start
    if not asked:
        raise CadaError(
            "attacks are put on harmful requests, and there is none",
            where="attack",
            mend="Name a set with harmful requests, or leave the attack out",
        )
    return Task(
        dataset=[to_sample(request, source_name(source)) for request in asked],
        solver=[
            attack_solver(how.attack),
            prompt(how.mode, how.casebook, how.classify),
            respond(how.prefill),
        ],
        scorer=judged(judge),
        config=GenerateConfig(temperature=0.0, max_tokens=how.max_tokens, seed=0),
    )
