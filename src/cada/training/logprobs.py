"""Log-probabilities of completions: each token computed once, and the plain twin.

Shapes: N completion tokens of a micro-batch (all samples, flattened, in the samples' order),
V vocabulary, E hidden size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
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

    def chunk(h: Tensor, t: Tensor, r: Tensor | None) -> tuple[Tensor, ...]:
        logp = (head(h).float() if h.dtype != torch.float64 else head(h)) / temperature
        logp = logp.log_softmax(dim=-1)
        chosen = logp.gather(1, t[:, None])[:, 0]
        prob = logp.exp()
        entropy = -(prob.detach() * logp.detach()).sum(dim=-1)
        if r is None or reference is None:
            return chosen, entropy
        with torch.no_grad():
            ref = (reference[0](r).to(logp.dtype) / temperature).log_softmax(dim=-1)
        kl = (prob * (logp - ref)).sum(dim=-1)
        return chosen, entropy, ref.gather(1, t[:, None])[:, 0], kl

    parts = []
    for at in range(0, hidden.shape[0], _CHUNK):
        span = slice(at, at + _CHUNK)
        r = None if reference is None else reference[1][span]
        parts.append(checkpoint(chunk, hidden[span], targets[span], r, use_reentrant=False))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    extra = (columns[2], columns[3]) if reference is not None else (None, None)
    return TokenStats(columns[0], columns[1], *extra)
