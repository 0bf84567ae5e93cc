"""`cada evaluate`: measure one model, going on where a killed run stopped.

What needs torch is imported where a model is loaded: an API and stored answers do without.
"""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cada.attacks.named import attempts_of
from cada.attacks.types import NO_ATTACK, Attempt
from cada.casebook.loader import load_casebook
from cada.casebook.schema import Casebook
from cada.config.judge import JudgeOptions
from cada.config.recipe import Prompting
from cada.config.sources import RequestSource
from cada.errors import CadaError
from cada.evaluation.api import ApiOptions, Prefill, make_api_target
from cada.evaluation.metrics import Row, tabulate
from cada.evaluation.sets import measure
from cada.evaluation.stored import judge_stored, read_stored
from cada.evaluation.targets import Target
from cada.files import held, write_json
from cada.judging.make import cost, make_judge
from cada.judging.verdict import check_judge
from cada.models.fingerprint import fingerprint
from cada.pipelines.claim import claim
from cada.prompting.deliberation import FormatStyle
from cada.requests.sources import load_sets
from cada.requests.types import Request


@dataclass(frozen=True)
class Evaluation:
    """What to measure of which model: every set under every attack and every mode.

    `api`: the model is behind an API, by inspect_ai's name or at `base_url`; `prefill` says what
    is done there with attacks that begin the model's answer.
    """

    model: str
    sources: list[RequestSource]
    modes: tuple[str, ...]
    casebook: str
    prompting: Prompting
    max_tokens: int
    attacks: tuple[str, ...] = (NO_ATTACK,)
    api: bool = False
    base_url: str | None = None
    prefill: Prefill = "refuse"
    where: dict[str, bool | int | str] = field(default_factory=dict)
    limit: int | None = None
    canary: str | None = None
    device: str | None = None
    judge: JudgeOptions = field(default_factory=JudgeOptions)

    def as_dict(self) -> dict[str, Any]:
        """Plain data that tells two evaluations apart."""
        return asdict(self) | {
            "sources": [s.model_dump(mode="json") for s in self.sources],
            "modes": list(self.modes),
            "attacks": list(self.attacks),
            "prompting": self.prompting.model_dump(mode="json"),
            "weights": None if self.api else fingerprint(self.model),
            "judge": self.judge.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class Result:
    """The table, and what a judge cost that asks somebody."""

    rows: list[Row]
    judge: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `evaluation.json` holds it."""
        return {"judge": self.judge, "rows": [row.as_dict() for row in self.rows]}


class Watcher(Protocol):
    """Is told what goes on, for a progress bar."""

    def stage(self, text: str) -> None:
        """A new stage begins."""
        ...

    def measured(self, text: str, done: int, total: int) -> None:
        """So many answers of a set are there."""
        ...


def evaluate(job: Evaluation, out: Path | None, watcher: Watcher) -> Result:
    """Answer, judge and tabulate; with `out`, keep the answers and the table there.

    Raises:
        CadaError: bad input, or an `out` that holds another evaluation.
    """
    casebook = load_casebook(job.casebook)
    limit = {"limit": job.limit} if job.limit else {}
    sources = [s.model_copy(update=limit) for s in job.sources]
    sets = load_sets(sources, casebook, job.where)
    if job.canary:
        if job.api:
            raise CadaError(
                "an API gives no losses", where="--canary", mend="Leave it out, or load the model"
            )
        from cada.evaluation.canary import load_pairs

        load_pairs(job.canary)
    style = FormatStyle(job.prompting.style)
    attempts = {
        name: attempts_under(job.attacks, requests, style) for name, requests in sets.items()
    }
    if not any(attempts.values()):
        raise CadaError(
            "attacks are put on harmful requests, and there is none",
            where="--attack",
            mend="Name a set with harmful requests, or add --attack none",
        )
    asked = [request for requests in sets.values() for request in requests]
    check_judge(job.judge.kind, job.judge.harm_only, asked)
    if out is not None:
        claim(out, job.as_dict(), "an evaluation")
    judge = make_judge(job.judge, device=job.device)
    target = _target(job, casebook, watcher)
    watcher.stage("answering")
    with ExitStack() as stack:
        place = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(held(place))
        answers = measure(
            target,
            judge,
            attempts,
            job.modes,
            job.max_tokens,
            place / "answers.jsonl",
            job.model,
            watcher.measured,
        )
        rows = tabulate(answers, job.model, judge.name)
        rows += _canary(job, target)
        result = Result(rows, cost(judge))
        if out is not None:
            write_json(out / "evaluation.json", result.as_dict())
    return result


def evaluate_stored(
    path: Path,
    columns: Mapping[str, str],
    harmful: bool | None,
    style: FormatStyle,
    judge: JudgeOptions | None,
) -> Result:
    """The table of answers that somebody stored, with the grades stored beside them.

    A `judge` judges them anew; without one, answers that came without a verdict are judged by the
    offline judge.

    Raises:
        CadaError: the file cannot be read, or the judge cannot judge harmless requests.
    """
    stored = read_stored(path, columns, harmful, style)
    if stored.judged and judge is None:
        rows = []
        for model, answers in stored.answers.items():
            rows += tabulate(answers, model, answers[0].judge)
        return Result(rows, None)
    options = judge or JudgeOptions()
    everything = [a for answers in stored.answers.values() for a in answers]
    asked = [Request(a.request_id, a.request, a.kind == "harmful", None, "") for a in everything]
    check_judge(options.kind, options.harm_only, asked)
    made = make_judge(options)
    rows = []
    for model, answers in stored.answers.items():
        rows += tabulate(judge_stored(answers, made), model, made.name)
    return Result(rows, cost(made))


def _target(job: Evaluation, casebook: Casebook, watcher: Watcher) -> Target:
    """The model, loaded or behind its API.

    Raises:
        CadaError: it cannot be loaded or asked.
    """
    if job.api:
        options = ApiOptions(prefill=job.prefill)
        return make_api_target(job.model, job.base_url, casebook, job.prompting, options)
    from cada.evaluation.local import LocalTarget
    from cada.models.load import load_policy
    from cada.rollout.prompts import Prompter

    watcher.stage(f"loading {job.model}")
    policy = load_policy(job.model, device=job.device)
    return LocalTarget(
        policy, Prompter(casebook, job.prompting, policy.tokenizer, policy.system_role)
    )


def _canary(job: Evaluation, target: Target) -> list[Row]:
    if job.canary is None:
        return []
    from cada.evaluation.canary import canary_rows
    from cada.evaluation.local import LocalTarget

    assert isinstance(target, LocalTarget)
    return canary_rows(target.policy, target.prompter, job.canary, job.model)


def attempts_under(
    attacks: Sequence[str], requests: Sequence[Request], style: FormatStyle, where: str = "--attack"
) -> list[Attempt]:
    """The requests under every attack, in the attacks' order; `where` names them in errors.

    Attacks are put on harmful requests; harmless ones are asked as they are.

    Raises:
        CadaError: there is no such attack, or its file is for other requests.
    """
    harmful = [request for request in requests if request.harmful]
    attempts: list[Attempt] = []
    for attack in attacks:
        asked = requests if attack == NO_ATTACK else harmful
        made = attempts_of(attack, asked, style) if asked else []
        both = {a.attack for a in made} & {a.attack for a in attempts}
        if both:
            raise CadaError(
                f"two attacks are called {min(both)!r}",
                where=where,
                mend="Measure them one after the other, each with its own --out",
            )
        attempts += made
    return attempts
