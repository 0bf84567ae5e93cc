"""Log-probabilities of completions: each token computed once, and the plain twin.

Shapes: N completion tokens of a micro-batch (all samples, flattened, in the samples' order),
V vocabulary, E hidden size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from cada.models.shared_prefix import Forest, Segment
from cada.training.limits import KEPT_BYTES, LOGIT_ROWS
from cada.training.samples import Sample


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


def hidden_states(model: Any, samples: list[Sample], *, shared: bool) -> Tensor:
    """Hidden states that predict the completion tokens, by the path that fits the model."""
    return shared_hidden(model, samples) if shared else plain_hidden(model, samples)


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
    if _is_linear(head):
        found = _LinearHead.apply(  # type: ignore[no-untyped-call]
            hidden, head.weight, targets, temperature, reference
        )
    else:
        found = _any_head(head, hidden, targets, temperature, reference)
    extra = (found[2], found[3]) if reference is not None else (None, None)
    return TokenStats(found[0], found[1], *extra)


def _is_linear(head: Any) -> TypeGuard[nn.Linear]:
    """Whether the head is a plain matrix product, as nearly every language model's is."""
    return type(head) is nn.Linear and head.bias is None and not head._forward_hooks


def _logp(logits: Tensor, temperature: float) -> Tensor:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return (wide / temperature).log_softmax(dim=-1)


def _spans(rows: int) -> list[slice]:
    return [slice(at, min(at + LOGIT_ROWS, rows)) for at in range(0, rows, LOGIT_ROWS)]


def _any_head(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    temperature: float,
    reference: tuple[Callable[[Tensor], Tensor], Tensor] | None,
) -> tuple[Tensor, ...]:
    """By autograd alone, a chunk's logits computed again for the gradient: `_LinearHead`'s twin."""

    def compute(h: Tensor, t: Tensor, theirs: Tensor | None) -> tuple[Tensor, ...]:
        logp = _logp(head(h), temperature)
        chosen = logp.gather(1, t[:, None])[:, 0]
        prob = logp.exp()
        entropy = -(prob.detach() * logp.detach()).sum(dim=-1)
        if reference is None or theirs is None:
            return chosen, entropy
        with torch.no_grad():
            ref = _logp(reference[0](theirs), temperature)
        kl = (prob * (logp - ref)).sum(dim=-1)
        return chosen, entropy, ref.gather(1, t[:, None])[:, 0], kl

    parts = []
    for span in _spans(hidden.shape[0]):
        theirs = None if reference is None else reference[1][span]
        parts.append(checkpoint(compute, hidden[span], targets[span], theirs, use_reentrant=False))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


class _LinearHead(torch.autograd.Function):
    """The statistics under a head that is one matrix W, and their gradients by hand.

    With z = h Wᵀ / T and p = softmax(z): ∂ log p_t / ∂z = e_t − p, and
    ∂ KL / ∂z = p ∘ (log p − log q − KL). Where W is frozen, as under LoRA, the products of both
    with W are `[N, E]` and taken on the way forward: the backward pass computes no logits a second
    time. Where it is trained, the backward pass does, chunk by chunk, but for the first few chunks,
    whose p is kept where there is no reference.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: float,
        reference: tuple[Callable[[Tensor], Tensor], Tensor] | None,
    ) -> tuple[Tensor, ...]:
        ctx.precision = precision = _Precision.of(weight)
        ctx.temperature, ctx.reference = temperature, reference
        ctx.set_materialize_grads(False)
        head = weight.to(precision.products)
        early = hidden.requires_grad and not weight.requires_grad
        ctx.kept = {}
        room = KEPT_BYTES if hidden.requires_grad and not early and reference is None else 0
        rows: list[list[Tensor]] = []
        slopes: list[list[Tensor]] = []
        for span in _spans(hidden.shape[0]):
            theirs = precision.reference_logp(reference, span, temperature)
            with precision.by_hand():
                logp = _head_logp(hidden[span].to(head.dtype), head, temperature)
                prob = logp.exp()
                found, steep = _chunk(logp, prob, head, targets[span], theirs, early)
            room -= prob.nbytes
            if room >= 0:
                ctx.kept[span.start] = prob
            rows.append(found)
            slopes.append(steep)
        stats = [torch.cat(column) for column in zip(*rows, strict=True)]
        if early:
            steep = [torch.cat(column) / temperature for column in zip(*slopes, strict=True)]
            ctx.save_for_backward(*steep)
        else:
            ctx.save_for_backward(hidden, weight, targets, *stats[3:])
        ctx.early = early
        ctx.mark_non_differentiable(*stats[1:3])
        return tuple(stats)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        by_logp, by_kl = (grads[0], grads[3]) if len(grads) > 3 else (grads[0], None)
        if ctx.early:
            pulls = zip((by_logp, by_kl), ctx.saved_tensors, strict=False)
            total = sum(g[:, None].to(s.dtype) * s for g, s in pulls if g is not None)
            return total, None, None, None, None
        hidden, weight, targets, *kl = ctx.saved_tensors
        head, temperature = weight.to(ctx.precision.products), ctx.temperature
        by_logp, by_kl = (None if g is None else g / temperature for g in (by_logp, by_kl))
        by_hidden = torch.empty_like(hidden, dtype=head.dtype)
        by_weight = torch.zeros_like(head)
        for span in _spans(hidden.shape[0]):
            inner = hidden[span].to(head.dtype)
            slope = ctx.kept.pop(span.start, None)  # it is overwritten: a second pass has none
            if slope is None:
                logp = _head_logp(inner, head, temperature)
                slope = logp.exp()
            if by_kl is not None:
                logp.sub_(ctx.precision.reference_logp(ctx.reference, span, temperature))
                pull = logp.sub_(kl[0][span, None]).mul_(by_kl[span, None])
                if by_logp is not None:
                    pull.sub_(by_logp[span, None])
                slope.mul_(pull)
            elif by_logp is not None:
                slope.mul_(-by_logp[span, None])
            if by_logp is not None:
                slope.scatter_add_(1, targets[span, None], by_logp[span, None])
            slope = slope.to(head.dtype)
            torch.mm(slope, head, out=by_hidden[span])
            torch.addmm(by_weight, slope.T, inner, out=by_weight)
        return by_hidden.to(hidden.dtype), by_weight.to(weight.dtype), None, None, None


def _chunk(
    logp: Tensor,
    prob: Tensor,
    head: Tensor,
    targets: Tensor,
    theirs: Tensor | None,
    early: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    """A chunk's statistics, and where it is early their slopes by the hidden states times T.

    `logp` and `prob`, `[n, V]`, are overwritten where there is a reference.
    """
    found = [logp.gather(1, targets[:, None])[:, 0], _dot(prob, logp).neg_()]
    steep = [head[targets] - prob.to(head.dtype) @ head] if early else []
    if theirs is not None:
        gap = logp.sub_(theirs)
        kl = _dot(prob, gap)
        found += [theirs.gather(1, targets[:, None])[:, 0], kl]
        if early:
            pull = prob.mul_(gap.sub_(kl[:, None]))
            steep.append(pull.to(head.dtype) @ head)
    return found, steep


@dataclass(frozen=True)
class _Precision:
    """Of products with the weight: autocast's type where it is on, or the weight's own.

    Sums over the vocabulary are taken in float32 in any case.
    """

    device: str
    products: torch.dtype
    autocast: bool

    @classmethod
    def of(cls, weight: Tensor) -> "_Precision":
        device = weight.device.type
        on = torch.is_autocast_enabled(device)
        return cls(device, torch.get_autocast_dtype(device) if on else weight.dtype, on)

    def by_hand(self) -> torch.autocast:
        """Every cast is written out."""
        return torch.autocast(self.device, enabled=False)

    def reference_logp(
        self,
        reference: tuple[Callable[[Tensor], Tensor], Tensor] | None,
        span: slice,
        temperature: float,
    ) -> Tensor | None:
        """The reference's log-probabilities `[n, V]`, forwards and backwards the same."""
        if reference is None:
            return None
        with torch.autocast(self.device, self.products, enabled=self.autocast):
            return _logp(reference[0](reference[1][span]), temperature)


def _head_logp(hidden: Tensor, head: Tensor, temperature: float) -> Tensor:
    """Log-probabilities `[n, V]`."""
    logits = hidden @ head.T
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return (wide if temperature == 1 else wide.div_(temperature)).log_softmax(dim=-1)


def _dot(one: Tensor, two: Tensor) -> Tensor:
    """Row by row, without a third tensor of their size."""
    return torch.bmm(one[:, None, :], two[:, :, None])[:, 0, 0]
