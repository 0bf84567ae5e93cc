"""A baseline's data: which of the model's own outputs are learnt, on the bare request.

Token ids are kept as sampled and prompts as the engine would send them, so that what is trained is
what is asked later. A chain that was cut off at the token limit is never learnt: it would teach the
model not to stop. DPO's rejected answers may be cut off, for most unsafe answers are long.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cada.config.baseline import Baseline
from cada.requests.types import Request
from cada.rollout.types import Prompt
from cada.training.collect import Judged
from cada.training.samples import Sample

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Example:
    """An answer to learn. `prompt` is the bare request's; the completion ends in its stop token."""

    request_id: str
    prompt: Tokens
    completion: Tokens


@dataclass(frozen=True)
class Pair:
    """Two answers to one request, the better one first."""

    request_id: str
    prompt: Tokens
    chosen: Tokens
    rejected: Tokens


@dataclass(frozen=True)
class Counts:
    """What became of the requests that were drawn. `cut` counts outputs that found no end,
    `filtered` those that the filter dropped, `without` requests from which nothing is learnt."""

    requests: int
    harmful: int
    outputs: int
    cut: int
    filtered: int
    without: int
    learnt: int

    def as_dict(self) -> dict[str, int]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Output:
    """One of the model's outputs; `grade` is what a chat model gave its reasoning, if asked."""

    judged: Judged
    sample: Sample
    grade: float | None = None

    @property
    def whole(self) -> bool:
        """Whether it came to an end by itself, with something in it."""
        return self.judged.rollout.finish_reason == "stop" and bool(
            self.judged.rollout.text.strip()
        )


def refusals(
    baseline: Baseline, requests: dict[int, Request], bare: dict[int, Prompt], sentence: Tokens
) -> list[Example]:
    """The fixed refusal to every harmful request, `sentence` being its ids and the stop token."""
    return [
        Example(request.id, bare[number].ids, sentence)
        for number, request in requests.items()
        if request.harmful
    ]


def examples(baseline: Baseline, outputs: Sequence[Output]) -> list[tuple[int, Example]]:
    """What supervised fine-tuning learns, each with its request's number, in the outputs' order."""
    taken: dict[int, int] = {}
    found = []
    for output in outputs:
        number = output.sample.group
        most = baseline.keep_per_request
        if not _is_learnt(baseline, output) or (most and taken.get(number, 0) >= most):
            continue
        taken[number] = taken.get(number, 0) + 1
        rollout = output.judged.rollout
        found.append(
            (number, Example(rollout.request_id, output.sample.prompt.ids, rollout.completion_ids))
        )
    return found


def pairs(
    baseline: Baseline, chosen: Sequence[Output], rejected: Sequence[Output]
) -> list[tuple[int, Pair]]:
    """What DPO learns: rollouts of reward +1 before rollouts of reward −1 to the same request.

    Chosen and rejected ones are paired in their order; requests without both are left out. A
    rejected answer may be cut off.
    """
    found = []
    for number in dict.fromkeys(o.sample.group for o in chosen):
        better = [o for o in chosen if o.sample.group == number and o.sample.kept]
        worse = [
            o
            for o in rejected
            if o.sample.group == number and o.judged.reward == -1 and o.judged.rollout.text.strip()
        ]
        both = list(zip(better, worse, strict=False))[: baseline.keep_per_request]
        found += [
            (
                number,
                Pair(
                    a.judged.request.id,
                    a.sample.prompt.ids,
                    a.judged.rollout.completion_ids,
                    b.judged.rollout.completion_ids,
                ),
            )
            for a, b in both
        ]
    return found


def counted(
    requests: dict[int, Request], outputs: Sequence[Output], learnt: Sequence[int], dropped: int
) -> Counts:
    """The counts; `learnt` holds the request's number of every example or pair."""
    return Counts(
        requests=len(requests),
        harmful=sum(r.harmful for r in requests.values()),
        outputs=len(outputs),
        cut=sum(not o.whole for o in outputs),
        filtered=dropped,
        without=len(requests.keys() - set(learnt)),
        learnt=len(learnt),
    )


def passes(baseline: Baseline, output: Output) -> bool:
    """Whether the filter lets an output through that came to an end; benign ones need +1."""
    if not output.judged.request.harmful or baseline.filter == "refused_and_reasoned":
        return output.judged.reward == 1
    return baseline.filter == "none" or output.grade == 1


def _is_learnt(baseline: Baseline, output: Output) -> bool:
    return output.whole and passes(baseline, output)
