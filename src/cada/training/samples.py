"""One training sample: a completion, the context its loss is taken in, and its advantage."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from cada.rollout.types import Prompt, Rollout


@dataclass(frozen=True)
class Sample:
    """A rewarded rollout. `prompt` is the loss context, which may differ from the sampler's.

    `reward` is None when the judge failed; such a sample has advantage 0. `group` numbers the
    request within its step. `weight` scales the advantage. The first `verdict_tokens` tokens of the
    completion say the verdict, `verdict_right` whether it is the right one (None where there is
    none) and `verdict_advantage` the advantage of these tokens, where they have one of their own.
    The final response opens at token `response_at`.
    """

    group: int
    prompt: Prompt
    rollout: Rollout
    reward: float | None
    advantage: float = 0.0
    weight: float = 1.0
    verdict_tokens: int = 0
    verdict_right: bool | None = None
    verdict_advantage: float | None = None
    response_at: int | None = None

    @property
    def kept(self) -> bool:
        """Whether distillation learns from it: reward +1, and not cut off at the token limit.

        Learning from a cut completion would teach the model not to stop.
        """
        return self.reward == 1 and self.rollout.finish_reason == "stop"

    def with_advantage(self, value: float) -> "Sample":
        """The same sample with this advantage, times its weight."""
        return replace(self, advantage=value * self.weight)


def microbatches(samples: list[Sample], tokens: int) -> list[list[Sample]]:
    """Cut samples into passes of at most `tokens` tokens, counting shared prefixes once.

    A pack is cut only where it does not fit into a pass by itself, and then between requests; a
    request's samples only where they do not. What is cut has its prefix computed once a piece.
    Pieces go into passes the largest first, each into the first that has room.
    """
    pieces: list[list[Sample]] = []
    for _, of_pack in groupby(sorted(samples, key=_pack), key=_pack):
        pieces += _cut(list(of_pack), tokens, by=_request)
    batches: list[list[Sample]] = []
    room: list[int] = []
    for piece in sorted(pieces, key=size, reverse=True):
        needed = size(piece)
        place = next((i for i, free in enumerate(room) if needed <= free), None)
        if place is None:
            batches.append([])
            room.append(tokens)
            place = len(room) - 1
        batches[place] += piece
        room[place] -= needed
    return batches


def _pack(sample: Sample) -> tuple[int, ...]:
    return sample.prompt.pack_ids


def _request(sample: Sample) -> tuple[int, ...]:
    return sample.prompt.ids


def _cut(
    samples: list[Sample], tokens: int, by: Callable[[Sample], Any] | None
) -> list[list[Sample]]:
    """Pieces of a budget's size, cut between runs of samples that are alike by a key.

    A run that is larger than the budget is cut too; without a key, between any two samples.
    """
    if size(samples) <= tokens or len(samples) == 1:
        return [samples]
    if by is None:
        runs = [[s] for s in samples]
    else:
        runs = [list(run) for _, run in groupby(sorted(samples, key=by), key=by)]
    pieces: list[list[Sample]] = [[]]
    for run in runs:
        if size(pieces[-1] + run) <= tokens:
            pieces[-1] += run
        else:
            pieces += _cut(run, tokens, None)
    return [piece for piece in pieces if piece]


def shares(samples: list[Sample], tokens: int, processes: int) -> list[list[list[Sample]]]:
    """Every process's passes of an update, as even in tokens as whole passes allow.

    One process gets `microbatches`. More of them get passes of at most a process's even share, the
    largest first, each to the process that has least.
    """
    if processes == 1:
        return [microbatches(samples, tokens)]
    even = -(-size(samples) // processes)
    found: list[list[list[Sample]]] = [[] for _ in range(processes)]
    load = [0] * processes
    for batch in sorted(microbatches(samples, min(tokens, even)), key=size, reverse=True):
        least = load.index(min(load))
        found[least].append(batch)
        load[least] += size(batch)
    return found


def size(samples: list[Sample]) -> int:
    """Tokens of a pass, shared prefixes once."""
    packs: set[tuple[int, ...]] = set()
    prompts: set[tuple[int, ...]] = set()
    total = 0
    for sample in samples:
        total += _cost(sample, packs, prompts)
        packs.add(sample.prompt.pack_ids)
        prompts.add(sample.prompt.ids)
    return total


def _cost(sample: Sample, packs: set[tuple[int, ...]], prompts: set[tuple[int, ...]]) -> int:
    cost = len(sample.rollout.completion_ids)
    if sample.prompt.ids not in prompts:
        cost += len(sample.prompt.request_ids)
    if sample.prompt.pack_ids not in packs:
        cost += len(sample.prompt.pack_ids)
    return cost
