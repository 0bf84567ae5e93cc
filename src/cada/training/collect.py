"""One step's data: draw requests, sample, parse, judge, reward."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cada.config.phase import Phase
from cada.config.recipe import RewardOptions
from cada.judging.make import ask_chat
from cada.judging.rubric import ReasoningJudge
from cada.judging.verdict import Judge, Outcome, Verdict
from cada.models.parallel import Processes
from cada.prompting.deliberation import Deliberation, opening, parse
from cada.requests.types import Request
from cada.reward import reasoned, reward
from cada.rollout.prompts import Prompter
from cada.rollout.types import Engine, Rollout, Sampling
from cada.training.draw import RequestStream, derive_seed
from cada.training.samples import Sample


@dataclass(frozen=True)
class Judged:
    """A rollout with everything that was decided about it.

    `again` marks a later round's, sampled because nothing was to be kept before. `quality` is a
    chat model's grade of the reasoning in [0, 1], of outputs that it was asked about.
    """

    request: Request
    rollout: Rollout
    deliberation: Deliberation
    verdict: Verdict
    reward: float | None
    reasoned: bool
    again: bool = False
    quality: float | None = None

    def row(self, step: int) -> dict[str, Any]:
        """A flat row for the run's rollout files."""
        return {
            "step": step,
            "request_id": self.request.id,
            "kind": self.request.kind,
            "hazard": self.request.hazard,
            "request": self.request.text,
            "mode": self.rollout.mode,
            "text": self.rollout.text,
            "outcome": str(self.verdict.outcome),
            "reason": self.verdict.reason,
            "reward": self.reward,
            "reasoned": self.reasoned,
            "quality": self.quality,
            "tokens": len(self.rollout.completion_ids),
            "finish_reason": self.rollout.finish_reason,
        }


class Collector:
    """Samples and rewards one step at a time."""

    def __init__(
        self,
        engine: Engine,
        prompter: Prompter,
        judge: Judge,
        options: RewardOptions,
        stream: RequestStream,
        replies: Path | None = None,
        row_seeds: bool = False,
    ) -> None:
        """`replies` is where a chat model's grades of reasoning are kept.

        `row_seeds` samples every completion from a seed of its own, as many processes always do:
        the texts then do not depend on their number.
        """
        self.processes = Processes()
        self.row_seeds = row_seeds or self.processes.count > 1
        self.engine = engine
        self.prompter = prompter
        self.judge = judge
        self.options = options
        self.stream = stream
        self.grader = ReasoningJudge(ask_chat(options.judge, replies)) if options.judge else None

    def collect(self, phase: Phase, step: int) -> tuple[list[Judged], list[Sample]]:
        """Step `step` (from 0) of a phase: what was judged, and samples without advantages yet.

        Of many processes each samples and judges whole requests, and all get everything.

        Later rounds (`phase.rounds`) sample again, under other cases, for the requests that have
        no rollout to keep so far; with `phase.tell_verdict` the output already opens with the
        right verdict there.
        """
        requests = dict(enumerate(self.stream.draw(phase, step)))
        left = requests
        found: list[tuple[Judged, Sample]] = []
        for turn in range(phase.rounds):
            seed = derive_seed(self.stream.seed, phase.name, step, *([turn] if turn else []))
            own = dict(list(left.items())[self.processes.rank :: self.processes.count])
            told = phase.tell_verdict and turn > 0
            made = self.processes.gather(self.sample(phase, own, seed, told=told))
            found += [(replace(j, again=turn > 0), s) for j, s in made]
            kept = {s.group for _, s in found if s.kept}
            left = {i: r for i, r in requests.items() if i not in kept}
            if not left:
                break
        found.sort(key=lambda pair: pair[1].group)
        return [j for j, _ in found], [s for _, s in found]

    def sample(
        self, phase: Phase, requests: dict[int, Request], seed: int, *, told: bool = False
    ) -> list[tuple[Judged, Sample]]:
        """The judged rollouts of these requests, by number, each with its sample.

        `seed` draws cases and tokens; one seed stands for one call. Outputs that are `told` their
        verdict open with it; it is part of the completion then, sampled with probability 1.
        """
        mode = str(phase.rollout_mode)
        prompts = [self.prompter.prompt(r, mode, seed, sampling=True) for r in requests.values()]
        asked = prompts
        if told:
            asked = [
                self.prompter.prompt(
                    r, mode, seed, sampling=True, prefill=opening(r.harmful, self.prompter.style)
                )
                for r in requests.values()
            ]
        sampling = Sampling(phase.max_tokens, phase.temperature, phase.top_p)
        if self.row_seeds:
            asked = [
                replace(prompt, seed=derive_seed(seed, number))
                for number, prompt in zip(requests, asked, strict=True)
            ]
        groups = self.engine.generate(asked, phase.rollouts_per_request, sampling, seed)
        if told:
            groups = [
                [self.prompter.with_prefill(rollout, prompt) for rollout in rollouts]
                for rollouts, prompt in zip(groups, prompts, strict=True)
            ]
        pairs = [
            (request, rollout)
            for request, rollouts in zip(requests.values(), groups, strict=True)
            for rollout in rollouts
        ]
        items = iter(self._grade(self._judge(pairs, mode, seed)))
        made = []
        for (number, request), prompt, rollouts in zip(
            requests.items(), prompts, groups, strict=True
        ):
            bare = phase.loss_context == "bare"
            context = self.prompter.prompt(request, "none", seed) if bare else prompt
            for rollout in rollouts:
                item = next(items)
                said = self._verdict_tokens(item)
                right = item.deliberation.finds(harmful=request.harmful) if said else None
                sample = Sample(
                    number,
                    context,
                    rollout,
                    item.reward,
                    weight=getattr(phase.weights, request.kind),
                    verdict_tokens=said,
                    verdict_right=right,
                    response_at=self.prompter.response_at(rollout, item.deliberation),
                )
                made.append((item, sample))
        return made

    def _judge(self, pairs: list[tuple[Request, Rollout]], mode: str, seed: int) -> list[Judged]:
        """Parse, judge and reward rollouts; only the final response is judged."""
        parsed = [parse(rollout.text, self.prompter.style) for _, rollout in pairs]
        verdicts = self.judge.judge_all(
            [(r.text, d.response) for (r, _), d in zip(pairs, parsed, strict=True)]
        )
        test, opens = self.options.reasoning, self.prompter.options.verdict
        made = []
        for (request, rollout), parts, verdict in zip(pairs, parsed, verdicts, strict=True):
            shown = self.prompter.shown(request, mode, seed, sampling=True)
            value = reward(request, parts, verdict, test, opens=opens, shown=shown)
            is_reasoned = reasoned(request, parts, test, shown)
            made.append(Judged(request, rollout, parts, verdict, value, is_reasoned))
        return made

    def _grade(self, items: list[Judged]) -> list[Judged]:
        """Ask about the reasoning of what earned +1; too low a grade earns 0, none no gradient."""
        if self.grader is None:
            return items
        at = [number for number, item in enumerate(items) if item.reward == 1]
        outputs = [
            (j.request.text, self.prompter.code(j.request, j.rollout.mode),
             j.deliberation.reasoning,
             j.deliberation.response)
            for j in (items[number] for number in at)
        ]  # fmt: skip
        graded = list(items)
        for number, grade in zip(at, self.grader.grade_all(outputs), strict=True):
            value = None
            if grade.value is not None:
                value = 1.0 if grade.value >= self.options.quality else 0.0
            graded[number] = replace(items[number], reward=value, quality=grade.value)
        return graded

    def _verdict_tokens(self, item: Judged) -> int:
        """Tokens until the verdict is said, of an output that opens its analysis with one."""
        if item.deliberation.without_verdict == item.deliberation.reasoning:
            return 0
        return self.prompter.verdict_tokens(item.rollout.completion_ids)


def summarise(judged: list[Judged]) -> dict[str, Any]:
    """A step's shares, by kind of request: rewards, refusals, reasoning, lengths.

    Of the first round, save `sampled`: later ones ask again only where it went wrong.
    """
    sampled = len(judged)
    judged = [j for j in judged if not j.again]
    n = len(judged)
    values: Counter[float | None] = Counter(j.reward for j in judged)
    lengths = [len(j.rollout.completion_ids) for j in judged]
    scored = [j.reward for j in judged if j.reward is not None]
    summary: dict[str, Any] = {
        "rollouts": n,
        "sampled": sampled,
        "reward": sum(scored) / len(scored) if scored else None,
        "share_plus": values[1.0] / n,
        "share_zero": values[0.0] / n,
        "share_minus": values[-1.0] / n,
        "share_unscored": values[None] / n,
        "reasoned": sum(j.reasoned for j in judged) / n,
        "length": sum(lengths) / n,
        "truncated": sum(j.rollout.finish_reason == "length" for j in judged) / n,
    }
    for kind in ("harmful", "lookalike", "ordinary"):
        own = [j for j in judged if j.request.kind == kind]
        if own:
            refused = sum(j.verdict.outcome is Outcome.REFUSED for j in own)
            summary[f"{kind}_plus"] = sum(j.reward == 1 for j in own) / len(own)
            summary[f"{kind}_refused"] = refused / len(own)
    benign = [j for j in judged if not j.request.harmful]
    if benign:
        refused = sum(j.verdict.outcome is Outcome.REFUSED for j in benign)
        summary["benign_refused"] = refused / len(benign)
    return summary
