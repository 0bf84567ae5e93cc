"""The work that both sides do: a batch of made-up token ids, and how much of it there is.

Notation: N completions, of which `group` share a prompt; a prompt is a pack and a request.
"""

from dataclasses import dataclass, replace
from random import Random

from cada.rollout.types import Prompt, Rollout
from cada.training.samples import Sample

# A forward pass costs 1, a forward and backward pass 3: a backward pass multiplies twice as much.
FORWARD, TRAIN = 1, 3


@dataclass(frozen=True)
class Shape:
    """Sizes of a batch, in tokens. Requests go round the packs; the last is `spread` longer."""

    packs: int
    pack: int
    requests: int
    request: int
    group: int
    completion: int
    spread: int = 0

    @property
    def rows(self) -> int:
        """Completions of the batch."""
        return self.requests * self.group

    def sized(self, scale: float) -> "Shape":
        """The same shape with all lengths scaled, for trials on small models."""
        return replace(
            self,
            pack=max(1, round(self.pack * scale)),
            request=max(1, round(self.request * scale)),
            completion=max(2, round(self.completion * scale)),
            spread=round(self.spread * scale),
        )


def prompts_of(shape: Shape, vocabulary: int, seed: int = 0) -> list[Prompt]:
    """One prompt a request, ids drawn at random from above the special tokens."""
    draw = Random(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.randrange(min(100, vocabulary // 4), vocabulary) for _ in range(n))

    packs = [ids(shape.pack) for _ in range(shape.packs)]
    longer = [shape.spread * i // max(1, shape.requests - 1) for i in range(shape.requests)]
    return [
        Prompt(f"r{i}", "cases", packs[i % shape.packs], ids(shape.request + longer[i]))
        for i in range(shape.requests)
    ]


def samples_of(shape: Shape, vocabulary: int, seed: int = 0) -> list[Sample]:
    """`group` completions a prompt; rewards in [−1, 1] and their leave-one-out advantages."""
    draw = Random(seed + 1)
    samples = []
    for group, prompt in enumerate(prompts_of(shape, vocabulary, seed)):
        rewards = [draw.uniform(-1, 1) for _ in range(shape.group)]
        for reward in rewards:
            ids = tuple(
                draw.randrange(min(100, vocabulary // 4), vocabulary)
                for _ in range(shape.completion)
            )
            rollout = Rollout(prompt.request_id, prompt.mode, prompt.ids, ids, (), "", "length")
            others = (sum(rewards) - reward) / (shape.group - 1)
            samples.append(Sample(group, prompt, rollout, reward, reward - others))
    return samples


def part_of(samples: list[Sample], groups: int) -> list[Sample]:
    """The samples of `groups` groups, evenly spaced, the last group among them."""
    numbers = sorted({s.group for s in samples})
    chosen = {numbers[-1 - i * len(numbers) // groups] for i in range(groups)}
    return [s for s in samples if s.group in chosen]


def unique_tokens(samples: list[Sample]) -> int:
    """Tokens that a pass must compute: every pack, request and completion once.

    A completion's last token predicts nothing and is not counted.
    """
    packs = {s.prompt.pack_ids for s in samples}
    requests = {s.prompt.ids: len(s.prompt.request_ids) for s in samples}
    inner = sum(len(s.rollout.completion_ids) - 1 for s in samples)
    return sum(map(len, packs)) + sum(requests.values()) + inner


def padded_tokens(samples: list[Sample]) -> int:
    """Tokens of a rectangular batch: the longest prompt and the longest completion, every row."""
    prompt = max(len(s.prompt.ids) for s in samples)
    completion = max(len(s.rollout.completion_ids) for s in samples)
    return len(samples) * (prompt + completion)


def whole_tokens(samples: list[Sample]) -> int:
    """Tokens of all rows, neither shared nor padded."""
    return sum(len(s.prompt.ids) + len(s.rollout.completion_ids) for s in samples)
