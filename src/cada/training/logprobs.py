"""Log-probabilities of completions: each token computed once, and the plain twin.

Shapes: N completion tokens of a micro-batch (all samples, flattened, in the samples' order),
V vocabulary, E hidden size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cada.models.shared_prefix import Forest, Segment
from cada.training.samples import Sample

# Rows of logits held at once: 512 × 49,152 in float32 are 100 MB.
_CHUNK = 512


@dataclass(frozen=True)
class TokenStats:
    """Per completion token, `[N]` each: log-probability, entropy (no gradient), and where a
    reference was given its log-probability and the exact KL(policy ‖ reference) in nats."""

    logprob: Tensor
    entropy: Tensor
    reference_logprob: Tensor | None
    kl: Tensor | None


def forest_of(samples: list[Sample]) -> tuple[Forest, list[int]]:
    """The samples' tokens as a forest, and for each completion token the row position that
    predicts it (the prompt's last position predicts every first token)."""
    segments: list[Segment] = []
    packs: dict[tuple[int, ...], int] = {}
    requests: dict[tuple[int, ...], int] = {}
    leaves: list[tuple[int, int | None, int]] = []
    for sample in samples:
        prompt = sample.prompt
        if prompt.pack_ids and prompt.pack_ids not in packs:
            packs[prompt.pack_ids] = len(segments)
            segments.append(Segment(prompt.pack_ids, None))
        if prompt.ids not in requests:
            requests[prompt.ids] = len(segments)
            segments.append(Segment(prompt.request_ids, packs.get(prompt.pack_ids)))
        parent, leaf = requests[prompt.ids], None
        inner = sample.rollout.completion_ids[:-1]
        if inner:
            leaf = len(segments)
            segments.append(Segment(inner, parent))
        leaves.append((parent, leaf, len(inner)))
    forest = Forest(segments)
    positions = []
    for parent, leaf, n in leaves:
        positions.append(forest.starts[parent] + forest.lengths[parent] - 1)
        if leaf is not None:
            positions += range(forest.starts[leaf], forest.starts[leaf] + n)
    return forest, positions


def shared_hidden(model: Any, samples: list[Sample]) -> Tensor:
    """Last hidden states `[N, E]` that predict the completion tokens, prefixes computed once."""
    forest, positions = forest_of(samples)
    device = next(model.parameters()).device
    hidden: Tensor = model.get_decoder()(**forest.inputs(device)).last_hidden_state[0]
    return hidden[torch.tensor(positions, device=device)]


def plain_hidden(model: Any, samples: list[Sample]) -> Tensor:
    """The twin of `shared_hidden`: one ordinary forward pass a sample."""
    device = next(model.parameters()).device
    rows = []
    for s in samples:
        ids = torch.tensor([s.prompt.ids + s.rollout.completion_ids], device=device)
        hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[0]
        rows.append(hidden[len(s.prompt.ids) - 1 : -1])
    return torch.cat(rows)


def token_stats(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    temperature: float,
    reference: tuple[Callable[[Tensor], Tensor], Tensor] | None = None,
) -> TokenStats:
    """Log-probabilities at the sampling temperature, in chunks: no `[N, V]` tensor is kept.

    Args:
        head: the policy's output embedding, `[n, E]` → `[n, V]`.
        hidden: `[N, E]`.
        targets: completion tokens `[N]`.
        temperature: logits are divided by it.
        reference: the reference's head and hidden states `[N, E]`.
    """
    one = _frozen_chunk if _is_frozen(head) else _chunk
    parts = []
    for at in range(0, hidden.shape[0], _CHUNK):
        span = slice(at, at + _CHUNK)
        against = None
        if reference is not None:
            with torch.no_grad():
                against = reference[0](reference[1][span])
        parts.append(one(head, hidden[span], targets[span], temperature, against))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    extra = (columns[2], columns[3]) if reference is not None else (None, None)
    return TokenStats(columns[0], columns[1], *extra)


def _logp(logits: Tensor, temperature: float) -> Tensor:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return (wide / temperature).log_softmax(dim=-1)


def _chunk(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    temperature: float,
    against: Tensor | None,
) -> tuple[Tensor, ...]:
    """One chunk under a head that is trained: its logits are computed again for the gradient."""

    def compute(h: Tensor, t: Tensor, against: Tensor | None) -> tuple[Tensor, ...]:
        logp = _logp(head(h), temperature)
        chosen = logp.gather(1, t[:, None])[:, 0]
        prob = logp.exp()
        entropy = -(prob.detach() * logp.detach()).sum(dim=-1)
        if against is None:
            return chosen, entropy
        ref = _logp(against, temperature)
        kl = (prob * (logp - ref)).sum(dim=-1)
        return chosen, entropy, ref.gather(1, t[:, None])[:, 0], kl

    found: tuple[Tensor, ...] = checkpoint(compute, hidden, targets, against, use_reentrant=False)
    return found


def _is_frozen(head: Callable[[Tensor], Tensor]) -> bool:
    """Whether the head is a plain linear layer that no gradient changes, as under LoRA."""
    return (
        type(head) is nn.Linear
        and head.bias is None
        and not head.weight.requires_grad
        and not head._forward_hooks
    )


def _frozen_chunk(
    head: Any, hidden: Tensor, targets: Tensor, temperature: float, against: Tensor | None
) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = _FrozenHead.apply(  # type: ignore[no-untyped-call]
        hidden, head.weight, targets, temperature, against
    )
    return found


class _FrozenHead(torch.autograd.Function):
    """Statistics of a chunk, and at once what their gradients by the hidden states will need.

    With z = h Wᵀ / T and p = softmax(z): ∂ log p_t / ∂h = (W_t − p W) / T, and
    ∂ KL / ∂h = (p ∘ (log p − log q − KL)) W / T. Both are `[n, E]`: the backward pass computes no
    logits a second time and multiplies by no `[V, E]` matrix.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: float,
        against: Tensor | None,
    ) -> tuple[Tensor, ...]:
        logp = _logp(hidden @ weight.T, temperature)
        chosen = logp.gather(1, targets[:, None])[:, 0]
        prob = logp.exp()
        found = [chosen, -(prob * logp).sum(dim=-1)]
        slopes = []
        if hidden.requires_grad:
            mean = prob.to(weight.dtype) @ weight
            slopes = [(weight[targets] - mean) / temperature]
        if against is not None:
            ref = _logp(against, temperature)
            gap = logp.sub_(ref)
            kl = (prob * gap).sum(dim=-1)
            found += [ref.gather(1, targets[:, None])[:, 0], kl]
            if hidden.requires_grad:
                pull = prob.mul_(gap.sub_(kl[:, None]))
                slopes.append(pull.to(weight.dtype) @ weight / temperature)
        ctx.save_for_backward(*slopes)
        ctx.mark_non_differentiable(*found[1:3])
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slopes = ctx.saved_tensors
        wanted = grads[:1] if len(slopes) == 1 else (grads[0], grads[3])
        total = sum(
            (g[:, None].to(s.dtype) * s for g, s in zip(wanted, slopes, strict=True)),
            start=torch.zeros_like(slopes[0]),
        )
        return total, None, None, None, None
