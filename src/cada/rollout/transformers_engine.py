"""Sample with the model in memory: packs prefilled once, requests once, finished rows dropped.

`SharedEngine` needs a model that `check_support` accepts; `PlainEngine` is its twin on
transformers' own `generate`, for every other model and for the tests.

Shapes: N rows being decoded, V vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from cada.models.adapters import merged
from cada.models.load import Policy
from cada.models.shared_prefix import DecodeBatch, Forest, Segment
from cada.rollout.encode import Encoder
from cada.rollout.types import Engine, Prompt, Rollout, Sampling

# Rows are dropped once so many have finished: each drop copies the others' keys and values.
_DROP_SHARE = 1 / 8

Progress = Callable[[int, int], None]


def make_engine(
    policy: Policy, rows_per_batch: int = 128, progress: Progress | None = None
) -> Engine:
    """The engine for this policy: shared prefixes where the model allows it."""
    if policy.shared:
        return SharedEngine(policy, rows_per_batch, progress)
    return PlainEngine(policy, rows_per_batch, progress)


def next_tokens(
    logits: Tensor,
    sampling: Sampling,
    generator: torch.Generator,
    uniform: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw one token a row and give its log-probability under the sampling distribution.

    Args:
        logits: `[N, V]`.
        sampling: temperature 0 takes the most likely token, with its log-probability at
            temperature 1.
        generator: on the logits' device.
        uniform: `[N, 1]` numbers in [0, 1) that were drawn before, instead of the generator's.

    Returns:
        Token ids `[N]` and natural-log probabilities `[N]`.
    """
    logits = logits.float()
    if sampling.temperature == 0:
        logprobs = logits.log_softmax(dim=-1)
        token = logprobs.argmax(dim=-1)
    else:
        logprobs = (logits / sampling.temperature).log_softmax(dim=-1)
        if sampling.top_p < 1:
            logprobs = _nucleus(logprobs, sampling.top_p)
        token = _draw(logprobs.exp(), generator, uniform)
    return token, logprobs.gather(1, token[:, None])[:, 0]


def _draw(probs: Tensor, generator: torch.Generator, uniform: Tensor | None = None) -> Tensor:
    """One index a row from `[N, V]` weights, by inverting the cumulative sum.

    One uniform number a row; torch.multinomial draws one for every entry of the vocabulary.
    """
    if uniform is None:
        uniform = torch.rand(probs.shape[0], 1, generator=generator, device=probs.device)
    cumulative = probs.cumsum(dim=-1)
    # 1 − u lies in (0, 1], so that the point reached always has weight.
    reached = torch.searchsorted(cumulative, (1 - uniform) * cumulative[:, -1:])
    return reached[:, 0].clamp(max=probs.shape[1] - 1)


def _nucleus(logprobs: Tensor, top_p: float) -> Tensor:
    """The smallest set of tokens whose mass reaches `top_p`, renormalised."""
    ordered, order = logprobs.sort(dim=-1, descending=True)
    before = ordered.exp().cumsum(dim=-1) - ordered.exp()
    cut = torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before >= top_p)
    return logprobs.masked_fill(cut, float("-inf")).log_softmax(dim=-1)


@dataclass
class _Row:
    """One completion in the making."""

    prompt: Prompt
    place: tuple[int, int]
    seed: int | None = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


def _draws(rows: list[_Row], n: int, device: torch.device) -> Tensor | None:
    """Every row's own uniform numbers `[N, n]`, where rows have seeds of their own."""
    seeds = [row.seed for row in rows if row.seed is not None]
    if len(seeds) < len(rows):
        return None
    drawn = [torch.rand(n, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(drawn).to(device)


class _Engine:
    """What both engines hold: a policy, how many rows go at once, and whom to tell."""

    def __init__(
        self, policy: Policy, rows_per_batch: int = 128, progress: Progress | None = None
    ) -> None:
        self.policy = policy
        self.rows_per_batch = rows_per_batch
        self.progress = progress
        self.encoder = Encoder(policy.tokenizer)


class SharedEngine(_Engine):
    """Samples with shared prefixes (see `cada.models.shared_prefix`)."""

    @torch.no_grad()
    def generate(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[list[Rollout]]:
        """`samples` completions a prompt, in the prompts' order; the same for the same seed."""
        device = self.policy.device
        generator = torch.Generator(device).manual_seed(seed)
        rows = [
            _Row(p, (i, s), None if p.seed is None else p.seed + s)
            for i, p in enumerate(prompts)
            for s in range(samples)
        ]
        rows.sort(key=lambda r: (len(r.prompt.pack_ids), r.prompt.pack_ids, r.place))
        was_training = self.policy.model.training
        self.policy.model.eval()
        with merged(self.policy.model):
            for at in range(0, len(rows), self.rows_per_batch):
                self._decode(rows[at : at + self.rows_per_batch], sampling, generator)
                if self.progress:
                    self.progress(min(at + self.rows_per_batch, len(rows)), len(rows))
        self.policy.model.train(was_training)
        done = {r.place: self._rollout(r) for r in rows}
        return [[done[i, s] for s in range(samples)] for i in range(len(prompts))]

    def _decode(self, rows: list[_Row], sampling: Sampling, generator: torch.Generator) -> None:
        model, device = self.policy.model, self.policy.device
        batch, last = self._prefill(rows, sampling.max_tokens)
        depth = torch.tensor([len(r.prompt.ids) for r in rows], device=device)
        active = list(rows)
        stop = torch.tensor(self.policy.stop_ids, device=device)
        open_ = torch.ones(len(rows), dtype=torch.bool, device=device)
        draws = _draws(rows, sampling.max_tokens, device)
        for step in range(sampling.max_tokens):
            uniform = None if draws is None else draws[:, step : step + 1]
            token, logprob = next_tokens(last, sampling, generator, uniform)
            for row, is_open, t, lp in zip(
                active, open_.tolist(), token.tolist(), logprob.tolist(), strict=True
            ):
                if is_open:
                    row.tokens.append(t)
                    row.logprobs.append(lp)
            open_ = open_ & ~torch.isin(token, stop)
            left = int(open_.sum())
            if left == 0 or step + 1 == sampling.max_tokens:
                return
            if left <= len(active) * (1 - _DROP_SHARE):
                keep = open_.nonzero()[:, 0]
                batch.keep_rows(keep)
                active = [active[i] for i in keep.tolist()]
                token, depth, open_ = token[keep], depth[keep], open_[keep]
                draws = None if draws is None else draws[keep]
            batch.advance()
            last = model(
                input_ids=token[:, None],
                position_ids=depth[:, None] + step,
                layout=batch,
                use_cache=False,
            ).logits[:, -1]

    def _prefill(self, rows: list[_Row], max_tokens: int) -> tuple[DecodeBatch, Tensor]:
        """Run every pack and every request once; logits of each row's first token `[N, V]`."""
        segments: list[Segment] = []
        at_pack: dict[tuple[int, ...], int] = {}
        at_request: dict[int, int] = {}
        for row in rows:
            prompt = row.prompt
            if prompt.pack_ids and prompt.pack_ids not in at_pack:
                at_pack[prompt.pack_ids] = len(segments)
                segments.append(Segment(prompt.pack_ids, None))
            if row.place[0] not in at_request:
                at_request[row.place[0]] = len(segments)
                segments.append(Segment(prompt.request_ids, at_pack.get(prompt.pack_ids)))
        forest = Forest(segments, keep=True)
        inputs = forest.inputs(self.policy.device)
        requests = [at_request[r.place[0]] for r in rows]
        ends = {s: forest.starts[s] + forest.lengths[s] - 1 for s in dict.fromkeys(requests)}
        keep = torch.tensor(list(ends.values()), device=self.policy.device)
        logits = self.policy.model(**inputs, logits_to_keep=keep).logits[0]
        where = {s: i for i, s in enumerate(ends)}
        packs = [at_pack.get(r.prompt.pack_ids) for r in rows]
        batch = DecodeBatch(forest, packs, requests, max_tokens)
        forest.kept.clear()
        return batch, logits[[where[s] for s in requests]]

    def _rollout(self, row: _Row) -> Rollout:
        return self.encoder.rollout(row.prompt, row.tokens, row.logprobs, self.policy.stop_ids)


class PlainEngine(_Engine):
    """Samples with transformers' `generate`; every model, no sharing."""

    @torch.no_grad()
    def generate(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[list[Rollout]]:
        """`samples` completions a prompt, in the prompts' order; the same for the same seed."""
        if len(prompts) > 1 and any(p.seed is not None for p in prompts):
            return [self.generate([prompt], samples, sampling, seed)[0] for prompt in prompts]
        if prompts and prompts[0].seed is not None:
            seed = prompts[0].seed
        flat = [p for p in prompts for _ in range(samples)]
        done: list[Rollout] = []
        was_training = self.policy.model.training
        self.policy.model.eval()
        with torch.random.fork_rng(devices=_cuda(self.policy.device)):
            torch.manual_seed(seed)
            for at in range(0, len(flat), self.rows_per_batch):
                done += self._batch(flat[at : at + self.rows_per_batch], sampling)
                if self.progress:
                    self.progress(len(done), len(flat))
        self.policy.model.train(was_training)
        return [done[i * samples : (i + 1) * samples] for i in range(len(prompts))]

    def _batch(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        device = self.policy.device
        width = max(len(p.ids) for p in prompts)
        pad = self.policy.tokenizer.pad_token_id
        ids = [[pad] * (width - len(p.ids)) + list(p.ids) for p in prompts]
        mask = [[0] * (width - len(p.ids)) + [1] * len(p.ids) for p in prompts]
        greedy = sampling.temperature == 0
        options = (
            {"do_sample": False}
            if greedy
            else {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": 0,
            }
        )
        with _without_defaults(self.policy.base) as model:
            out = model.generate(
                input_ids=torch.tensor(ids, device=device),
                attention_mask=torch.tensor(mask, device=device),
                max_new_tokens=sampling.max_tokens,
                eos_token_id=list(self.policy.stop_ids),
                pad_token_id=pad,
                output_scores=True,
                return_dict_in_generate=True,
                **options,
            )
        tokens = out.sequences[:, width:]
        scores = torch.stack([s.float().log_softmax(dim=-1) for s in out.scores], dim=1)
        logprobs = scores.gather(2, tokens[..., None])[..., 0]
        rollouts = []
        for prompt, row, values in zip(prompts, tokens.tolist(), logprobs.tolist(), strict=True):
            stops = [i for i, t in enumerate(row) if t in self.policy.stop_ids]
            n = stops[0] + 1 if stops else len(row)
            rollouts.append(self.encoder.rollout(prompt, row[:n], values[:n], self.policy.stop_ids))
        return rollouts


@contextmanager
def _without_defaults(model: Any) -> Iterator[Any]:
    """The model without its own generation defaults (penalties, top_k), which bend the policy."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield model
    finally:
        model.generation_config = own


def _cuda(device: torch.device) -> list[int]:
    return [device.index or 0] if device.type == "cuda" else []
