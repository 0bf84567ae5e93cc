"""How many tokens sampling and training compute, before any is computed. Imports without torch.

The counts are those of the engine's batches and of the trainer's micro-batches for the same
prompts and completion lengths; `unshared` is what one pass a row would compute.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cada.rollout.types import Prompt, Rollout
from cada.training.samples import Sample, microbatches


@dataclass(frozen=True)
class DecodeTokens:
    """A batch of rows that are decoded together.

    `rows`; `prefilled` prompt tokens, each pack and each request once; `unshared`, the same once a
    row; `requests` prompts; `columns`, the longest row without its pack; `decoded` tokens that the
    model reads one at a time (the last is only drawn); `pairs` of a query and a key, in both.
    """

    rows: int
    requests: int
    prefilled: int
    unshared: int
    columns: int
    decoded: int
    pairs: int


@dataclass(frozen=True)
class PassTokens:
    """A micro-batch: `tokens` that the model reads, `unshared` ones, `outputs` whose probability is
    taken, `joined` keys that are put together once a segment, and `pairs` of a query and a key."""

    tokens: int
    unshared: int
    outputs: int
    joined: int
    pairs: int


def decode_batches(
    prompts: Sequence[Prompt],
    samples: int,
    length: int,
    rows_per_batch: int,
    *,
    shared: bool = True,
) -> list[DecodeTokens]:
    """The batches in which `samples` completions of `length` tokens a prompt are decoded."""
    rows = [(i, p) for i, p in enumerate(prompts) for _ in range(samples)]
    if shared:
        rows.sort(key=lambda row: (len(row[1].pack_ids), row[1].pack_ids, row[0]))
    return [
        _decoded(rows[at : at + rows_per_batch], length, shared)
        for at in range(0, len(rows), rows_per_batch)
    ]


def _decoded(rows: list[tuple[int, Prompt]], length: int, shared: bool) -> DecodeTokens:
    unique = dict(rows)
    whole = sum(len(p.ids) for _, p in rows)
    longest = max(len(p.ids) for _, p in rows)
    steps = length - 1
    pairs = sum(steps * len(p.ids) + steps * (steps + 1) // 2 for _, p in rows)
    if not shared:
        n = len(rows) * longest  # padded to the longest
        pairs += len(rows) * longest * (longest + 1) // 2
        return DecodeTokens(
            len(rows), len(unique), n, whole, longest + length, len(rows) * steps, pairs
        )
    packs = {p.pack_ids for p in unique.values()}
    own = [len(p.request_ids) for p in unique.values()]
    prefilled = sum(map(len, packs)) + sum(own)
    pairs += sum(len(p) * (len(p) + 1) // 2 for p in packs)
    for p in unique.values():
        n = len(p.request_ids)
        pairs += n * len(p.pack_ids) + n * (n + 1) // 2
    decoded = len(rows) * steps
    return DecodeTokens(len(rows), len(unique), prefilled, whole, max(own) + length, decoded, pairs)


def made_up(prompt: Prompt, group: int, length: int) -> Sample:
    """A sample of that length, for counting: which tokens it holds is of no matter."""
    ids = (0,) * length
    rollout = Rollout(prompt.request_id, prompt.mode, prompt.ids, ids, (0.0,) * length, "", "stop")
    return Sample(group, prompt, rollout, 1.0, advantage=1.0)


def passes(samples: list[Sample], budget: int, *, shared: bool = True) -> list[PassTokens]:
    """The micro-batches of one update."""
    return [_pass(batch, shared) for batch in microbatches(samples, budget)]


def _pass(batch: list[Sample], shared: bool) -> PassTokens:
    outputs = sum(len(s.rollout.completion_ids) for s in batch)
    unshared = sum(len(s.prompt.ids) + len(s.rollout.completion_ids) for s in batch)
    if not shared:
        lengths = [len(s.prompt.ids) + len(s.rollout.completion_ids) for s in batch]
        return PassTokens(unshared, unshared, outputs, 0, sum(n * (n + 1) // 2 for n in lengths))
    segments = [(0, len(pack)) for pack in {s.prompt.pack_ids for s in batch} if pack]
    prompts = {s.prompt.ids: s.prompt for s in batch}
    segments += [(len(p.pack_ids), len(p.request_ids)) for p in prompts.values()]
    segments += [
        (len(s.prompt.ids), len(s.rollout.completion_ids) - 1)
        for s in batch
        if len(s.rollout.completion_ids) > 1
    ]
    return PassTokens(
        tokens=sum(n for _, n in segments),
        unshared=unshared,
        outputs=outputs,
        joined=sum(depth + n for depth, n in segments if depth),
        pairs=sum(depth * n + n * (n + 1) // 2 for depth, n in segments),
    )
