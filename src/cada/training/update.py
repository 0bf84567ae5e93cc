"""One optimiser update from a set of samples."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cada.config.phase import Phase
from cada.models.load import Policy
from cada.models.parallel import Processes, Root, full
from cada.training.logprobs import TokenStats, hidden_states, token_stats
from cada.training.objective import Normaliser, policy_loss
from cada.training.recompute import recomputed
from cada.training.references import Reference
from cada.training.samples import Sample, shares


@dataclass(frozen=True)
class UpdateResult:
    """Means over the update's completion tokens; `kl` is None where there is no reference."""

    loss: float
    grad_norm: float
    entropy: float
    kl: float | None
    tokens: int


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
    root: nn.Module | None = None,
) -> UpdateResult:
    """Accumulate the gradient over micro-batches and take one optimiser step.

    The model stays in evaluation mode: dropout would make the loss's distribution another one
    than the sampler's. A gradient that is not finite is not applied; the result then says so.

    Of many processes each is given all samples and computes its share of them; the step and the
    result are those of one process. `root` is then the policy as DDP or FSDP wraps it.
    """
    processes = Processes()
    norm = Normaliser.of(samples)
    policy.model.eval()
    optimiser.zero_grad()
    root = root or Root(policy.model)
    # A forward is a collective under FSDP, and the plain path takes one a sample: so one a pass;
    # who has fewer passes makes up for them with passes that weigh 0.
    many_plain = processes.count > 1 and not policy.shared
    every = shares(samples, 1 if many_plain else tokens, processes.count)
    own = every[processes.rank]
    passes = max(len(each) for each in every)
    filler = [min(samples, key=lambda s: len(s.prompt.ids) + len(s.rollout.completion_ids))]
    loss_sum, entropy, kl, count = 0.0, 0.0, 0.0, 0.0
    for number in range(passes):
        counts = number < len(own)
        batch = own[number] if counts else filler
        with _held_back(root, number + 1 < passes):
            with recomputed(policy.base, recompute), accelerator.autocast():
                stats = _stats(root, policy, batch, phase.temperature, reference)
                loss = policy_loss(batch, stats, phase, norm)
            # DDP and FSDP take the mean over the processes; the loss is a sum over their shares.
            accelerator.backward(loss * (processes.count if counts else 0))
        if counts:
            loss_sum += float(loss.detach())
            entropy += float(stats.entropy.detach().sum())
            kl += float(stats.kl.detach().sum()) if stats.kl is not None else 0.0
            count += stats.logprob.shape[0]
    loss_sum, entropy, kl, count = processes.add([loss_sum, entropy, kl, count], policy.device)
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    grad_norm = float(full(accelerator.clip_grad_norm_(parameters, max_grad_norm)))
    if torch.isfinite(torch.tensor([grad_norm, loss_sum])).all():
        optimiser.step()
    optimiser.zero_grad()
    return UpdateResult(
        loss_sum, grad_norm, entropy / count, kl / count if reference else None, int(count)
    )


def _stats(
    root: nn.Module,
    policy: Policy,
    samples: list[Sample],
    temperature: float,
    reference: Reference | None,
) -> TokenStats:
    """`completion_stats` within the root's forward."""

    def compute() -> tuple[Tensor | None, ...]:
        found = completion_stats(policy, samples, temperature, reference)
        return found.logprob, found.entropy, found.reference_logprob, found.kl

    return TokenStats(*root(compute))


def _held_back(root: nn.Module, wanted: bool) -> AbstractContextManager[Any]:
    """DDP adds the replicas' gradients after the last pass alone; shards are added after each."""
    if wanted and isinstance(root, DistributedDataParallel):
        return root.no_sync()
    return nullcontext()
