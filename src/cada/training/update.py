"""One optimiser update from a set of samples."""

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import Tensor

from cada.config.recipe import Phase
from cada.models.adapters import adapters_off
from cada.models.load import Policy
from cada.training.logprobs import TokenStats, plain_hidden, shared_hidden, token_stats
from cada.training.objective import Normaliser, policy_loss
from cada.training.recompute import recomputed
from cada.training.samples import Sample, microbatches


class Reference:
    """The model that the KL term refers to: a frozen copy, or the base under LoRA adapters."""

    def __init__(self, policy: Policy, *, copy_weights: bool) -> None:
        """Freeze the policy as it is now.

        `copy_weights` false uses the adapters' base (LoRA, reference `initial`): no second model.
        """
        self._policy = policy
        self._model: Any = None
        if copy_weights or not isinstance(policy.model, PeftModel):
            wrapped = copy.deepcopy(policy.model).eval().requires_grad_(False)
            self._model = wrapped.get_base_model() if isinstance(wrapped, PeftModel) else wrapped

    @torch.no_grad()
    def hidden(self, samples: list[Sample]) -> Tensor:
        """Hidden states `[N, E]` that predict the completion tokens."""
        with self._context():
            return hidden_states(self.model, samples, shared=self._policy.shared)

    @property
    def model(self) -> Any:
        """The causal model that computes the reference."""
        return self._policy.base if self._model is None else self._model

    def _context(self) -> AbstractContextManager[Any]:
        if self._model is None:
            return adapters_off(self._policy.model)
        return nullcontext()


@dataclass(frozen=True)
class UpdateResult:
    """Means over the update's completion tokens; `kl` is None where there is no reference."""

    loss: float
    grad_norm: float
    entropy: float
    kl: float | None
    tokens: int


def hidden_states(model: Any, samples: list[Sample], *, shared: bool) -> Tensor:
    """Hidden states that predict the completion tokens, by the path that fits the model."""
    return shared_hidden(model, samples) if shared else plain_hidden(model, samples)


def completion_stats(
    policy: Policy, samples: list[Sample], temperature: float, reference: Reference | None = None
) -> TokenStats:
    """Statistics of every completion token of the samples, flattened in their order."""
    model = policy.base
    targets = torch.tensor(
        [t for s in samples for t in s.rollout.completion_ids], device=policy.device
    )
    hidden = hidden_states(model, samples, shared=policy.shared)
    against = None
    if reference is not None:
        against = (reference.model.get_output_embeddings(), reference.hidden(samples))
    return token_stats(model.get_output_embeddings(), hidden, targets, temperature, against)


def update(
    policy: Policy,
    optimiser: Any,
    accelerator: Accelerator,
    samples: list[Sample],
    phase: Phase,
    reference: Reference | None,
    *,
    tokens: int,
    max_grad_norm: float,
    recompute: bool = False,
) -> UpdateResult:
    """Accumulate the gradient over micro-batches and take one optimiser step.

    The model stays in evaluation mode: dropout would make the loss's distribution another one
    than the sampler's. A gradient that is not finite is not applied; the result then says so.
    """
    norm = Normaliser.of(samples)
    policy.model.eval()
    optimiser.zero_grad()
    loss_sum, entropy, kl, count = 0.0, 0.0, 0.0, 0
    for batch in microbatches(samples, tokens):
        with recomputed(policy.base, recompute), accelerator.autocast():
            stats = completion_stats(policy, batch, phase.temperature, reference)
            loss = policy_loss(batch, stats, phase, norm)
        accelerator.backward(loss)
        loss_sum += float(loss.detach())
        entropy += float(stats.entropy.detach().sum())
        kl += float(stats.kl.detach().sum()) if stats.kl is not None else 0.0
        count += stats.logprob.shape[0]
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    grad_norm = float(accelerator.clip_grad_norm_(parameters, max_grad_norm))
    if torch.isfinite(torch.tensor([grad_norm, loss_sum])).all():
        optimiser.step()
    optimiser.zero_grad()
    return UpdateResult(
        loss_sum, grad_norm, entropy / count, kl / count if reference else None, count
    )
