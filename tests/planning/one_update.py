"""One update of a model, as a script: what was foreseen, and what it held at most.

python -m tests.planning.one_update MODEL LORA_RANK SAMPLES TOKENS [again]: rank 0 trains every
weight; a sample is a request of 30 tokens and a completion of TOKENS; `again` recomputes.
Prints JSON: bytes, `before` the update, `peak` of the process, and the `parts` foreseen.
"""

import json
import resource
import sys
from typing import Any

import torch
from accelerate import Accelerator

from cada.config.recipe import Lora
from cada.models.adapters import trained_weights
from cada.models.load import load_config, load_policy
from cada.planning.memory import parts_of
from cada.planning.shape import shape_of
from cada.planning.tokens import DecodeTokens, passes
from cada.training.update import update
from tests.training.data import forest_samples, phase

_BUDGET = 2048


def main(source: str, rank: int, count: int, tokens: int, again: bool) -> dict[str, Any]:
    """The figures."""
    lora = Lora(rank=rank, alpha=2 * rank) if rank else None
    policy = load_policy(source, lora=lora, device="cpu", dtype=torch.float32)
    samples = forest_samples([tokens] * count, packs=1, requests=1, pack_tokens=20)
    adam = torch.optim.AdamW(trained_weights(policy.model).values(), lr=1e-5)
    accelerator = Accelerator(cpu=True)
    optimiser = accelerator.prepare_optimizer(adam)
    before = _peak()
    for _ in range(2):  # the optimiser's moments are there from the second on
        update(
            policy,
            optimiser,
            accelerator,
            samples,
            phase(),
            None,
            tokens=_BUDGET,
            max_grad_norm=1.0,
            recompute=again,
        )
    largest = max(passes(samples, _BUDGET), key=lambda p: p.tokens)
    parts = parts_of(
        shape_of(load_config(source)[0], lora=lora, phases=1, wide=True),
        device="cpu",
        references=0,
        kl=False,
        update=largest,
        decode=DecodeTokens(0, 0, 0, 0, 0, 0, 0),
        checkpointing=again,
    )
    return {
        "tokens": largest.tokens,
        "before": before,
        "peak": _peak(),
        "parts": {p.name: p.bytes for p in parts},
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    name, rank, count, tokens = sys.argv[1:5]
    print(json.dumps(main(name, int(rank), int(count), int(tokens), sys.argv[5:] == ["again"])))
