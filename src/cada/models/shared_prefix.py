"""Attention in which tokens shared by many sequences are computed once.

A batch of prompts and completions is a forest: a pack (code and cases) is the parent of requests,
a request the parent of its completions. A `Forest` packs it into one row `[1, T]`, each token
once; every segment attends to its ancestors and, causally, to itself. `DecodeBatch` holds the same
prefixes while one token a row is sampled.

Both hook into transformers' attention interface under the name `cada`: the model's forward takes
`layout=…` and hands it on to the attention function. Without a layout the function is plain SDPA.
It needs a causal decoder with full attention in every layer that honours `position_ids`;
`check_support` compares both paths on the loaded model.

Notation: T tokens in the row, H query heads, K key/value heads, D head size, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "cada"


class Layout(Protocol):
    """Computes attention for one layer of a model."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """`[B, H, L, D]`, `[B, K, L, D]` twice → `[B, L, H, D]`."""
        ...


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention function that transformers calls in every layer."""
    if layout is None:
        output: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
        return output
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: int = module.layer_idx  # type: ignore[assignment]
    return layout.attend(layer, query, key, value, scale), None


@cache
def _compiled_flex() -> Any:
    # Micro-batches are of all lengths: one kernel has to serve them.
    return torch.compile(flex_attention, dynamic=True)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


@dataclass(frozen=True)
class Segment:
    """A run of tokens; `parent` is the index of an earlier segment, or None for a root."""

    ids: tuple[int, ...]
    parent: int | None


@dataclass
class Forest:
    """Segments packed into one row, each token once. Parents come before their children.

    With `keep=True` the keys and values of every layer stay in `kept`, as `[K, T, D]` pairs.
    `flex` takes the whole row through FlexAttention, whose kernel skips the blocks that are closed,
    instead of going segment by segment; None does on a GPU.
    """

    segments: Sequence[Segment]
    keep: bool = False
    flex: bool | None = None
    kept: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Lay the segments out.

        Raises:
            ValueError: an empty segment, or a parent that does not come before its child.
        """
        self.chains: list[list[int]] = []
        self.starts: list[int] = []
        self.depths: list[int] = []
        at = 0
        for index, segment in enumerate(self.segments):
            if not segment.ids or (segment.parent is not None and segment.parent >= index):
                raise ValueError(f"segment {index} is empty or comes before its parent")
            above = [] if segment.parent is None else self.chains[segment.parent]
            chain = above if segment.parent is None else [*above, segment.parent]
            self.chains.append(chain)
            self.starts.append(at)
            self.depths.append(sum(len(self.segments[i].ids) for i in chain))
            at += len(segment.ids)
        self.lengths = [len(s.ids) for s in self.segments]
        self._masks: dict[tuple[int, int], Tensor] = {}
        self._blocks: BlockMask | None = None

    def span(self, segment: int | None) -> slice:
        """Where a segment lies in the row; an empty span for None."""
        if segment is None:
            return slice(0, 0)
        return slice(self.starts[segment], self.starts[segment] + self.lengths[segment])

    def inputs(self, device: torch.device) -> dict[str, Any]:
        """The model's arguments: `input_ids` and `position_ids` `[1, T]`, and the layout."""
        ids = [i for s in self.segments for i in s.ids]
        positions = [
            p
            for depth, n in zip(self.depths, self.lengths, strict=True)
            for p in range(depth, depth + n)
        ]
        return {
            "input_ids": torch.tensor([ids], device=device),
            "position_ids": torch.tensor([positions], device=device),
            "layout": self,
            "use_cache": False,
        }

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attention of every segment to its ancestors and, causally, to itself."""
        if self.keep:
            if layer != len(self.kept):
                raise RuntimeError("a kept forest runs through its model once, layer by layer")
            self.kept.append((key[0], value[0]))
        if query.is_cuda if self.flex is None else self.flex:
            return self._attend_flex(query, key, value, scale)
        queries = torch.split(query, self.lengths, dim=2)
        keys = torch.split(key, self.lengths, dim=2)
        values = torch.split(value, self.lengths, dim=2)
        outputs = []
        for index, (q, chain) in enumerate(zip(queries, self.chains, strict=True)):
            path = [*chain, index]
            k = torch.cat([keys[i] for i in path], dim=2) if chain else keys[index]
            v = torch.cat([values[i] for i in path], dim=2) if chain else values[index]
            mask = self._mask(q.shape[2], k.shape[2], q) if chain else None
            outputs.append(
                scaled_dot_product_attention(
                    q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True
                )
            )
        return torch.cat(outputs, dim=2).transpose(1, 2)

    def _attend_flex(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """The same over the whole row at once."""
        if self._blocks is None:
            self._blocks = self._open_blocks(query.device)
        flex = _compiled_flex() if query.is_cuda else flex_attention
        output: Tensor = flex(
            query, key, value, block_mask=self._blocks, scale=scale, enable_gqa=True
        )
        return output.transpose(1, 2)

    def _open_blocks(self, device: torch.device) -> BlockMask:
        """Which blocks of the row's square `[T, T]` anything may be seen in."""
        above = torch.eye(len(self.segments), dtype=torch.bool)
        for index, chain in enumerate(self.chains):
            above[index, chain] = True
        above = above.to(device)
        lengths = torch.tensor(self.lengths)
        of = torch.arange(len(self.segments)).repeat_interleave(lengths).to(device)

        def seen(_b: Tensor, _h: Tensor, query: Tensor, key: Tensor) -> Tensor:
            # An ancestor lies before its heirs, so one comparison serves both cases.
            return above[of[query], of[key]] & (query >= key)

        tokens = sum(self.lengths)
        return create_block_mask(seen, None, None, tokens, tokens, device=device)

    def _mask(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """Additive causal mask `[rows, columns]`, its last row seeing every column."""
        if (rows, columns) not in self._masks:
            open_ = torch.ones(rows, columns, dtype=torch.bool, device=like.device)
            open_ = open_.tril(columns - rows)
            mask = torch.zeros(rows, columns, dtype=like.dtype, device=like.device)
            self._masks[rows, columns] = mask.masked_fill(~open_, float("-inf"))
        return self._masks[rows, columns]


class DecodeBatch:
    """Keys and values while N rows are decoded, one token a step.

    A pack's keys and values are held once for all its rows and attended to apart; each row has
    its own columns: its request, right-aligned, then what it has generated. Rows with the same
    pack are neighbours.
    """

    def __init__(
        self, forest: Forest, packs: Sequence[int | None], requests: Sequence[int], max_tokens: int
    ) -> None:
        """Take the prefixes from a kept `forest`.

        Args:
            forest: it has run through the model with `keep=True`.
            packs: the segment of each row's pack, None for no pack; equal ones are neighbours.
            requests: the segment of each row's request.
            max_tokens: room for generated tokens.
        """
        self.packs = list(packs)
        self.columns = max(forest.lengths[r] for r in requests)
        k0 = forest.kept[0][0]
        self.heads, size = k0.shape[0], k0.shape[2]
        rows, width = len(self.packs), self.columns + max_tokens
        self.shared = {
            pack: [tuple(x[:, forest.span(pack)] for x in pair) for pair in forest.kept]
            for pack in dict.fromkeys(self.packs)
        }
        pad = torch.tensor([self.columns - forest.lengths[r] for r in requests])
        closed = torch.arange(self.columns)[None, :] < pad[:, None]
        self.closed = closed.to(k0.device)
        self.own: list[tuple[Tensor, Tensor]] = []
        for key, value in forest.kept:
            pair = []
            for source in (key, value):
                buffer = source.new_zeros(rows, self.heads, width, size)
                for row, request in enumerate(requests):
                    start, n = forest.starts[request], forest.lengths[request]
                    buffer[row, :, self.columns - n : self.columns] = source[:, start : start + n]
                pair.append(buffer.view(rows * self.heads, width, size))
            self.own.append((pair[0], pair[1]))

    def advance(self) -> None:
        """Open the column of the next token; call it before each forward."""
        self.columns += 1

    def keep_rows(self, rows: Tensor) -> None:
        """Drop all rows but those (indices `[M]`, ascending)."""
        self.packs = [self.packs[i] for i in rows.tolist()]
        self.closed = self.closed[rows]
        flat = (rows[:, None] * self.heads + torch.arange(self.heads, device=rows.device)).flatten()
        self.own = [(k[flat], v[flat]) for k, v in self.own]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attention of one token a row, `[N, H, 1, D]`, to its pack and its own columns."""
        n, h, _, d = query.shape
        kv, c = self.heads, self.columns
        own_k, own_v = self.own[layer]
        own_k[:, c - 1] = key.reshape(n * kv, d)
        own_v[:, c - 1] = value.reshape(n * kv, d)
        q = (query * scale).reshape(n * kv, h // kv, d)
        scores = torch.bmm(q, own_k[:, :c].transpose(1, 2)).view(n, kv, h // kv, c)
        first = self.closed.shape[1]
        scores[..., :first].masked_fill_(self.closed[:, None, None, :], float("-inf"))
        q = q.view(n, kv, h // kv, d)
        weights = torch.empty_like(scores)
        from_pack = torch.empty(n, kv, h // kv, d, dtype=query.dtype, device=query.device)
        at = 0
        while at < n:
            pack = self.packs[at]
            end = at
            while end < n and self.packs[end] == pack:
                end += 1
            pack_k, pack_v = self.shared[pack][layer]
            p, m = pack_k.shape[1], end - at
            rows = q[at:end].transpose(0, 1).reshape(kv, m * (h // kv), d)
            to_pack = torch.bmm(rows, pack_k.transpose(1, 2)).view(kv, m, h // kv, p)
            joint = torch.cat([to_pack.transpose(0, 1), scores[at:end]], dim=-1).softmax(dim=-1)
            weights[at:end] = joint[..., p:]
            part = joint[..., :p].transpose(0, 1).reshape(kv, m * (h // kv), p)
            from_pack[at:end] = torch.bmm(part, pack_v).view(kv, m, h // kv, d).transpose(0, 1)
            at = end
        own = torch.bmm(weights.view(n * kv, h // kv, c), own_v[:, :c]).view(n, kv, h // kv, d)
        return (own + from_pack).reshape(n, 1, h, d)


@torch.no_grad()
def check_support(model: nn.Module, vocabulary: int) -> bool:
    """Whether the shared path gives the plain path's logits on this model.

    Sliding windows, ALiBi, recurrent layers and models that ignore `position_ids` or `layout`
    fail here; they take the plain path.
    """
    device = next(model.parameters()).device
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocabulary, (3, 5), generator=draw).tolist()
    forest = Forest([Segment(tuple(ids[0]), None), *(Segment(tuple(i), 0) for i in ids[1:])])
    was_training = model.training
    model.eval()
    try:
        shared = model(**forest.inputs(device)).logits[0]
        for index in (1, 2):
            plain = model(input_ids=torch.tensor([ids[0] + ids[index]], device=device)).logits[0]
            start = forest.starts[index]
            gap = (shared[start : start + 5] - plain[5:]).abs().max()
            if not gap <= 0.02 * plain.std() + 1e-4:
                return False
    except (TypeError, RuntimeError, AttributeError):
        return False
    finally:
        model.train(was_training)
    return not getattr(model.config, "sliding_window", None)
