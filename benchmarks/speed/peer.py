"""TRL's side: a real `RLOOTrainer`, fed with given token ids and rewards.

Only its two doors to text are replaced (`_tokenize_prompts` and, where completions are given,
`_generate`), so that it works on the same ids as ours. Its old-policy pass, advantages, padding,
loss and backward pass are its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import mkdtemp
from typing import Any

import torch
import trl.trainer.utils
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import (
    ContinuousBatchingConfig,
    GenerationConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from trl import RLOOConfig, RLOOTrainer

from benchmarks.speed.clock import Clock
from cada.models.load import Policy
from cada.rollout.types import Prompt
from cada.training.samples import Sample


class Peer:
    """A trainer for one batch shape: `samples` fix its rows, rewards and lengths."""

    def __init__(
        self,
        policy: Policy,
        optimiser: Any,
        samples: list[Sample],
        *,
        rows: int,
        checkpointing: bool = False,
    ) -> None:
        """Build TRL's trainer around the policy's own model.

        Args:
            policy: its model is shared with our side, weight for weight.
            optimiser: the optimiser that takes the step.
            samples: whole groups, neighbours.
            rows: rows of one forward and backward pass (`per_device_train_batch_size`).
            checkpointing: TRL's default is true; it saves memory and costs a forward pass more.
        """
        self.policy = policy
        self.samples = samples
        self.passes = len(samples) // rows
        group = sum(s.group == samples[0].group for s in samples)
        self.texts = [{"prompt": str(i)} for i in range(len(samples))]
        self._attend()
        config = RLOOConfig(
            output_dir=mkdtemp(prefix="bench-"),
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=self.passes,
            num_generations=group,
            max_completion_length=max(len(s.rollout.completion_ids) for s in samples),
            beta=0.0,
            normalize_advantages=False,
            num_iterations=1,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            disable_dropout=True,
            gradient_checkpointing=checkpointing,
            use_cpu=policy.device.type == "cpu",
            bf16=False,
            shuffle_dataset=False,
            max_grad_norm=1.0,
            report_to=[],
            save_strategy="no",
        )
        tokenizer = policy.tokenizer
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            tokenizer = bare_tokenizer(policy.base.config.vocab_size)
        model, generation = policy.base, policy.base.generation_config
        stops = generation.eos_token_id
        self.own_forward = model.forward
        with torch.random.fork_rng():
            self.trainer: Any = RLOOTrainer(
                model=model,
                reward_funcs=self._rewards,
                args=config,
                train_dataset=Dataset.from_list(self.texts),
                processing_class=tokenizer,
                optimizers=(optimiser, None),
            )
        generation.eos_token_id = stops
        self.trainer.current_gradient_accumulation_steps = self.passes
        self.trainer._tokenize_prompts = lambda prompts: (self._prompt_ids(), None, {})
        self.trainer._generate = self._given
        self.optimiser = optimiser

    def never_stop(self) -> None:
        """Let every completion that TRL samples run to its full length."""
        self.trainer.eos_token_ids = [-1]
        self.trainer.generation_kwargs["eos_token_id"] = [-1]
        self.trainer.generation_config.eos_token_id = [-1]

    def close(self) -> None:
        """Give the model its own forward function back, for the next trainer or our side."""
        self.policy.base.forward = self.own_forward

    def prepare(self) -> dict[str, Any]:
        """Padding, the old-policy pass and the advantages."""
        self._attend()
        self.trainer.model.train()
        prepared: dict[str, Any] = self.trainer._generate_and_score_completions(self.texts)
        return prepared

    def update(
        self, clock: Clock, *, completion_head: bool = False, kept: dict[str, Tensor] | None = None
    ) -> dict[str, Any]:
        """One update, its phases timed apart: `old` (the old-policy pass), `train`, `step`.

        With `completion_head` the LM head scores completion positions alone, as TRL does on a GPU.
        The loss's gradients, not yet clipped, are copied into `kept`. Returns what the old-policy
        pass prepared.
        """
        self.optimiser.zero_grad()
        with on_completions(completion_head):
            with clock.time("old"):
                prepared = self.prepare()
            self.train(prepared, clock, kept)
        return prepared

    def train(
        self, prepared: dict[str, Any], clock: Clock, kept: dict[str, Tensor] | None = None
    ) -> None:
        """The training pass over prepared inputs, and the optimiser's step."""
        self._attend()
        trainer, model = self.trainer, self.trainer.model
        given = trainer._generate_and_score_completions
        trainer._generate_and_score_completions = lambda batch: prepared
        trainer._step = 0
        try:
            with clock.time("train"):
                for _ in range(self.passes):
                    trainer.training_step(model, self.texts, None)
            if kept is not None:
                named = model.named_parameters()
                kept.update((n, p.grad.clone()) for n, p in named if p.grad is not None)
            with clock.time("step"):
                trainer.accelerator.clip_grad_norm_(model.parameters(), 1.0)
                self.optimiser.step()
                self.optimiser.zero_grad()
        finally:
            trainer._generate_and_score_completions = given

    def backward(self, prepared: dict[str, Any]) -> Tensor:
        """TRL's loss over prepared inputs, its micro-batches one by one; leaves the gradients."""
        rows = len(self.samples) // self.passes
        total = torch.zeros(())
        self._attend()
        for at in range(0, len(self.samples), rows):
            part = {k: v[at : at + rows] for k, v in prepared.items()}
            loss = self.trainer._compute_loss(self.trainer.model, part) / self.passes
            loss.backward()
            total = total + loss.detach().cpu()
        return total

    def sample(self) -> list[list[int]]:
        """Completions that TRL samples for the samples' prompts, rows of full batches."""
        self._attend()
        self.trainer.model.train()
        found: list[list[int]] = self.trainer._generate_single_turn(self._prompt_ids(), None, {})
        return found

    def _given(self, prompts: list[Any]) -> tuple[list[Any], list[Any], list[str]]:
        completions = [list(s.rollout.completion_ids) for s in self.samples]
        return self._prompt_ids(), completions, [""] * len(completions)

    def _prompt_ids(self) -> list[list[int]]:
        return [list(s.prompt.ids) for s in self.samples]

    def _rewards(self, **_: Any) -> list[float]:
        return [float(s.reward or 0.0) for s in self.samples]

    def _attend(self) -> None:
        self.policy.model.set_attn_implementation("sdpa")


def generate(
    policy: Policy, prompts: list[Prompt], group: int, max_tokens: int, stop_ids: tuple[int, ...]
) -> list[list[int]]:
    """Greedy completions by transformers' `generate`, cut after their first stop token."""
    policy.model.set_attn_implementation("sdpa")
    policy.model.eval()
    rows = [list(p.ids) for p in prompts for _ in range(group)]
    width = max(map(len, rows))
    pad = policy.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(r)) + r for r in rows], device=policy.device)
    mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows], device=policy.device)
    own = policy.base.generation_config
    policy.base.generation_config = type(own)()
    try:
        out = policy.base.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_tokens,
            do_sample=False,
            eos_token_id=list(stop_ids) or None,
            pad_token_id=pad,
        )
    finally:
        policy.base.generation_config = own
    return [_cut(row, stop_ids) for row in out[:, width:].tolist()]


def generate_continuously(
    policy: Policy, prompts: list[Prompt], group: int, max_tokens: int
) -> list[list[int]]:
    """Greedy completions of full length by transformers' continuous batching."""
    config = GenerationConfig(
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=-1,
        pad_token_id=policy.tokenizer.pad_token_id,
    )
    policy.model.set_attn_implementation("sdpa")
    rows = [list(p.ids) for p in prompts for _ in range(group)]
    # its own default would take nine tenths of the memory for the cache
    cache = ContinuousBatchingConfig(max_memory_percent=0.2)
    out = policy.base.generate_batch(
        rows, generation_config=config, continuous_batching_config=cache, progress_bar=False
    )
    if len(out) != len(rows):
        raise RuntimeError("continuous batching gave no answer")
    return [list(o.generated_tokens) for o in out.values()]


@contextmanager
def on_completions(active: bool) -> Iterator[None]:
    """Let TRL's head skip prompt positions on a CPU too, where it scores them all."""
    utils: Any = trl.trainer.utils
    own = utils._use_triton
    if active:
        utils._use_triton = lambda device: True
    try:
        yield
    finally:
        utils._use_triton = own


def bare_tokenizer(vocabulary: int) -> PreTrainedTokenizerBase:
    """A tokenizer whose words are numbers, for models without one."""
    words = {str(i): i for i in range(vocabulary)}
    inner = Tokenizer(WordLevel(words, unk_token="0"))
    made: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="2", pad_token="2", bos_token="1"
    )
    return made


def _cut(row: list[int], stop_ids: tuple[int, ...]) -> list[int]:
    for at, token in enumerate(row):
        if token in stop_ids:
            return row[: at + 1]
    return row
