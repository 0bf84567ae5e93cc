"""How far a sampler of its own is from the policy that it should sample from."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from cada.config.phase import Phase
from cada.config.rollout import VllmOptions
from cada.errors import CadaError
from cada.models.load import Policy
from cada.rollout.types import Prompt, Rollout
from cada.training.samples import Sample, microbatches
from cada.training.update import completion_stats


@dataclass(frozen=True)
class Mismatch:
    """|log-probability of the sampler − of the trainer|, in nats: the tokens' mean and largest."""

    mean: float
    largest: float
    tokens: int


@torch.no_grad()
def sampler_mismatch(
    policy: Policy,
    rollouts: Sequence[Rollout],
    temperature: float,
    tokens: int,
    autocast: Callable[[], AbstractContextManager[None]],
) -> Mismatch:
    """Compare the rollouts' log-probabilities with the policy's own, under the same prompts.

    Args:
        policy: what was to be sampled from.
        rollouts: sampled at `temperature` and a top_p of 1.
        temperature: of both.
        tokens: of one pass.
        autocast: the precision of the trainer's passes.
    """
    samples = [_sample(rollout) for rollout in rollouts]
    gaps = []
    for batch in microbatches(samples, tokens):
        with autocast():
            own = completion_stats(policy, batch, temperature).logprob.double().cpu()
        told = [value for s in batch for value in s.rollout.logprobs]
        gaps.append((own - torch.tensor(told, dtype=torch.float64)).abs())
    gap = torch.cat(gaps)
    return Mismatch(float(gap.mean()), float(gap.max()), gap.numel())


def spread(rollouts: Sequence[Rollout], n: int) -> list[Rollout]:
    """At most `n` of them, evenly spaced."""
    n = min(n, len(rollouts))
    return [rollouts[i * len(rollouts) // n] for i in range(n)]


def check_mismatch(found: Mismatch, options: VllmOptions) -> None:
    """See that the sampler samples from the policy.

    Raises:
        CadaError: it does not.
    """
    if found.mean <= options.mismatch_limit:  # which NaN is not
        return
    raise CadaError(
        f"vLLM's log-probabilities are {found.mean:.3g} nats a token off the trainer's, over the "
        f"limit of {options.mismatch_limit:g}: its weights were not updated, or it computes "
        "otherwise",
        where="rollout.vllm",
        mend="See that the server reads the folder that is written here, in the same precision, "
        "and start it again; or raise rollout.vllm.mismatch_limit",
    )


def corrected(phase: Phase, options: VllmOptions) -> Phase:
    """The phase with an importance ratio for what vLLM rounds otherwise, where it takes one.

    Truncated importance sampling as between any sampler and trainer (Yao et al. 2025, "Your
    Efficient RL Framework Secretly Brings You Off-Policy RL Training").
    """
    if phase.positive_only or phase.ratio_clip is not None:
        return phase
    return phase.model_copy(update={"ratio_clip": options.ratio_clip})


def _sample(rollout: Rollout) -> Sample:
    prompt = Prompt(rollout.request_id, rollout.mode, (), rollout.prompt_ids)
    return Sample(0, prompt, rollout, None)
