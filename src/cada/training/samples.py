"""One training sample: a completion, the context its loss is taken in, and its advantage."""

from dataclasses import dataclass, replace

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

    Samples that share a request stay neighbours; a group larger than the budget is cut, and its
    prefix is then computed once a piece.
    """
    ordered = sorted(samples, key=lambda s: (s.prompt.pack_ids, s.prompt.ids))
    batches: list[list[Sample]] = []
    current: list[Sample] = []
    packs: set[tuple[int, ...]] = set()
    prompts: set[tuple[int, ...]] = set()
    used = 0
    for sample in ordered:
        cost = _cost(sample, packs, prompts)
        if current and used + cost > tokens:
            batches.append(current)
            current, used = [], 0
            packs, prompts = set(), set()
            cost = _cost(sample, packs, prompts)
        current.append(sample)
        used += cost
        packs.add(sample.prompt.pack_ids)
        prompts.add(sample.prompt.ids)
    return [*batches, current] if current else batches


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
