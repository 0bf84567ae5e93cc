"""Samples with made-up tokens, and phases."""

from random import Random
from typing import Any

from cada.config.phase import Phase
from cada.rollout.types import Prompt, Rollout
from cada.training.samples import Sample


def tokens(random: Random, n: int, vocabulary: int = 64) -> tuple[int, ...]:
    """`n` token ids that are no special token."""
    return tuple(random.randrange(3, vocabulary) for _ in range(n))


def sample(
    completion: tuple[int, ...] = (5, 6, 2),
    *,
    reward: float | None = 1.0,
    group: int = 0,
    finish: str = "stop",
    advantage: float = 0.0,
    prompt: Prompt | None = None,
    logprobs: tuple[float, ...] | None = None,
) -> Sample:
    """One sample; its prompt is of no matter unless given."""
    own = prompt or Prompt(f"r{group}", "cases", (3, 4), (5 + group,))
    lp = logprobs or tuple(-1.0 for _ in completion)
    rollout = Rollout(own.request_id, own.mode, own.ids, completion, lp, "text", finish)
    return Sample(group, own, rollout, reward, advantage)


def forest_samples(
    lengths: list[int], *, packs: int, requests: int, pack_tokens: int, seed: int = 0
) -> list[Sample]:
    """Samples over several packs and requests; every request gets completions of `lengths`."""
    random = Random(seed)
    made = []
    for p in range(packs):
        pack = tokens(random, pack_tokens + p if pack_tokens else 0)
        for r in range(requests):
            prompt = Prompt(f"{p}-{r}", "cases", pack, tokens(random, 3 + 2 * r))
            for n in lengths:
                completion = tokens(random, n)
                made.append(
                    sample(
                        completion,
                        group=p * requests + r,
                        prompt=prompt,
                        advantage=random.uniform(-1, 1),
                        logprobs=tuple(random.uniform(-5, -3) for _ in completion),
                    )
                )
    random.shuffle(made)
    return made


def phase(**changes: Any) -> Phase:
    """An on-policy phase without a KL term, with changes."""
    base: dict[str, Any] = {
        "name": "p",
        "steps": 1,
        "loss_context": "cases",
        "requests_per_step": 4,
        "rollouts_per_request": 4,
        "kl": {"beta": 0},
    }
    return Phase.model_validate(base | changes)
