"""The loss: REINFORCE with a KL penalty (METHOD, Reward and objective).

Shapes: N completion tokens of all samples, flattened.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cada.config.phase import Kl, Phase
from cada.training.logprobs import TokenStats
from cada.training.samples import Sample


@dataclass(frozen=True)
class Normaliser:
    """What an update's summed loss is divided by, known before its first micro-batch."""

    tokens: int
    sequences: int

    @classmethod
    def of(cls, samples: list[Sample]) -> "Normaliser":
        """Counts over a whole update."""
        return cls(sum(len(s.rollout.completion_ids) for s in samples), len(samples))


def kl_estimate(stats: TokenStats, kl: Kl) -> Tensor:
    """KL(policy ‖ reference) per token `[N]`, in nats.

    k1 = −log r, k2 = ½ (log r)², k3 = r − 1 − log r with r = reference / policy on the sampled
    token (Schulman 2020, "Approximating KL divergence"); `exact` sums over the vocabulary.

    Raises:
        ValueError: the statistics hold no reference.
    """
    if stats.kl is None or stats.reference_logprob is None:
        raise ValueError("a KL term needs the reference's log-probabilities")
    if kl.estimator == "exact":
        return stats.kl
    log_ratio = stats.reference_logprob - stats.logprob
    if kl.estimator == "k1":
        return -log_ratio
    if kl.estimator == "k2":
        return log_ratio.square() / 2
    return log_ratio.exp() - 1 - log_ratio


def policy_loss(samples: list[Sample], stats: TokenStats, phase: Phase, norm: Normaliser) -> Tensor:
    """The micro-batch's part of −E[A · w · log π] + β · KL, a scalar.

    w is 1 on the policy, else the importance ratio π / sampler, truncated at `ratio_clip` and
    without a gradient. A is the sample's advantage, but on the tokens of a verdict that has one of
    its own (`verdict_credit`). A token of the verdict counts `verdict_weight` times, the first
    token of the final response `opening_weight` times. With `kl.place: reward` each sequence's
    advantage is lowered by β times its summed KL, without a gradient.
    """
    lengths = [len(s.rollout.completion_ids) for s in samples]
    like = stats.logprob
    advantage = torch.tensor([s.advantage for s in samples], dtype=like.dtype, device=like.device)
    counts = torch.tensor(lengths, device=like.device)
    penalty = kl_estimate(stats, phase.kl) if phase.kl.beta else None
    if penalty is not None and phase.kl.place == "reward":
        per_sequence = torch.stack([p.sum() for p in penalty.detach().split(lengths)])  # type: ignore[no-untyped-call]
        advantage = advantage - phase.kl.beta * per_sequence
    weight = advantage.repeat_interleave(counts)
    if any(s.verdict_advantage is not None for s in samples):
        own = torch.cat([_verdict_advantages(s) for s in samples]).to(like)
        weight = torch.where(own.isnan(), weight, own)
    if phase.verdict_weight != 1 or phase.opening_weight != 1:
        weight = weight * torch.cat([_token_factors(s, phase) for s in samples]).to(like)
    if phase.ratio_clip is not None:
        sampler = torch.tensor(
            [p for s in samples for p in s.rollout.logprobs], dtype=like.dtype, device=like.device
        )
        weight = weight * (like.detach() - sampler).exp().clamp(max=phase.ratio_clip)
    loss = -(weight * like).sum()
    if penalty is not None and phase.kl.place == "loss":
        loss = loss + phase.kl.beta * penalty.sum()
    divisor = norm.tokens if phase.loss_aggregation == "token_mean" else norm.sequences
    return loss / divisor


def _token_factors(sample: Sample, phase: Phase) -> Tensor:
    factors = torch.ones(len(sample.rollout.completion_ids))
    if sample.response_at is not None:
        factors[sample.response_at] = phase.opening_weight
    factors[: sample.verdict_tokens] = phase.verdict_weight
    return factors


def _verdict_advantages(sample: Sample) -> Tensor:
    """Per token the advantage of its own, NaN where it has none."""
    own = torch.full((len(sample.rollout.completion_ids),), float("nan"), dtype=torch.float64)
    if sample.verdict_advantage is not None:
        own[: sample.verdict_tokens] = sample.verdict_advantage
    return own
