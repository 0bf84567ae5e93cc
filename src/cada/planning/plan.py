"""What a run will compute and hold, before it starts.

The first step of every phase is drawn and tokenised as the trainer does it, and stands for the
phase's other steps. What no one knows before sampling is assumed: how long completions are, and
how many of them distillation keeps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from random import Random

from cada.config.phase import Phase
from cada.config.recipe import Recipe
from cada.planning.memory import Part, parts_of, peak
from cada.planning.shape import ModelShape
from cada.planning.tokens import DecodeTokens, PassTokens, decode_batches, made_up, passes
from cada.planning.work import Rates, Work, sampling_work, update_work
from cada.rollout.types import Prompt
from cada.training.samples import Sample

# Rows that evaluation decodes at once (evaluation.local).
_EVALUATION_ROWS = 128


@dataclass(frozen=True)
class Assumptions:
    """`length` of a completion in tokens, the phase's longest when None; `kept` is the share of
    rollouts that distillation learns from."""

    length: int | None = None
    kept: float = 0.5


@dataclass(frozen=True)
class Stage:
    """A phase, or the measuring. Tokens are totals: `prefilled` and `trained` as computed, with
    shared prefixes, and what they would be without (`_unshared`); `sampled` ones are drawn."""

    name: str
    steps: int
    rollouts: int
    prefilled: int
    prefilled_unshared: int
    sampled: int
    updates: int
    trained: int
    trained_unshared: int
    operations: float
    seconds: float | None


@dataclass(frozen=True)
class Drawn:
    """A phase with the prompts of its first step: those sampled from, and those of the loss."""

    phase: Phase
    prompts: Sequence[Prompt]
    contexts: Sequence[Prompt]


@dataclass(frozen=True)
class Memory:
    """The parts of the memory, the most that is held at once, and what is there, in bytes."""

    parts: list[Part]
    peak: int
    free: int

    @property
    def fits(self) -> bool:
        """Whether what is there is enough."""
        return self.peak <= self.free


@dataclass(frozen=True)
class Plan:
    """A run foreseen. `seconds` is None where no matrix rate is known."""

    model: str
    device: str
    precision: str
    shared: bool
    memory: Memory
    stages: list[Stage]
    rates: Rates | None
    assumptions: list[str]
    advice: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """Of the whole run."""
        each = [s.seconds for s in self.stages if s.seconds is not None]
        return sum(each) if len(each) == len(self.stages) else None


def memory_of(
    recipe: Recipe,
    shape: ModelShape,
    drawn: Sequence[Drawn],
    measured: Sequence[Sequence[Prompt]],
    *,
    device: str,
    free: int,
) -> Memory:
    """The memory at its worst: every completion as long as it may be, and every rollout kept."""
    options = recipe.training
    pairs: list[tuple[Phase, PassTokens]] = []
    batches: list[DecodeTokens] = []
    for d in drawn:
        batch = _update_samples(d, d.phase.max_tokens, 1.0, recipe.seed)
        every = passes(batch, options.tokens_per_microbatch, shared=shape.shared)
        pairs.append((d.phase, max(every, key=lambda p: p.tokens)))
        batches += _decoded(d, d.phase.max_tokens, options.rows_per_batch, shape.shared)
    for prompts in measured:
        batches += decode_batches(
            prompts, 1, recipe.evaluation.max_tokens, _EVALUATION_ROWS, shared=shape.shared
        )
    found = [
        parts_of(
            shape,
            device=device,
            references=_references(recipe),
            kl=phase.kl.beta > 0,
            update=update,
            decode=decode,
            checkpointing=options.activation_checkpointing,
        )
        for phase, update in pairs
        for decode in batches
    ]
    worst = max(found, key=peak)
    return Memory(worst, peak(worst), free)


def stages_of(
    recipe: Recipe,
    shape: ModelShape,
    drawn: Sequence[Drawn],
    measured: Sequence[Sequence[Prompt]],
    assumed: Assumptions,
    rates: Rates | None,
) -> list[Stage]:
    """Every phase, and the measuring before and after them."""
    stages = [_stage(recipe, shape, d, assumed, rates) for d in drawn]
    batches = [
        batch
        for prompts in measured
        for batch in decode_batches(
            prompts, 1, _length(assumed, recipe.evaluation.max_tokens), _EVALUATION_ROWS,
            shared=shape.shared,
        )
    ]  # fmt: skip
    if batches:
        work = sum((sampling_work(shape, b) for b in batches), Work()) * 2
        stages.append(
            Stage(
                "measuring",
                steps=2,
                rollouts=2 * sum(b.rows for b in batches),
                prefilled=2 * sum(b.prefilled for b in batches),
                prefilled_unshared=2 * sum(b.unshared for b in batches),
                sampled=2 * sum(b.decoded + b.rows for b in batches),
                updates=0,
                trained=0,
                trained_unshared=0,
                operations=work.total,
                seconds=rates.seconds(work) if rates else None,
            )
        )
    return stages


def _stage(
    recipe: Recipe, shape: ModelShape, d: Drawn, assumed: Assumptions, rates: Rates | None
) -> Stage:
    phase, options = d.phase, recipe.training
    length = _length(assumed, phase.max_tokens)
    batches = _decoded(d, length, options.rows_per_batch, shape.shared)
    work = sum((sampling_work(shape, b) for b in batches), Work())
    # A later round asks again for the requests that kept nothing.
    share, again = 1.0, (1 - assumed.kept) ** phase.rollouts_per_request
    rounds = sum(share * again**turn for turn in range(phase.rounds))
    work = work * rounds
    kept = assumed.kept if phase.positive_only else 1.0
    useful = _useful(d, length, kept if phase.rounds == 1 else 1 - (1 - kept) ** phase.rounds)
    each: list[PassTokens] = []
    updates = _cut(useful, phase, recipe.seed)
    for batch in updates:
        each += passes(batch, options.tokens_per_microbatch, shared=shape.shared)
    training = sum(
        (
            update_work(
                shape,
                one,
                references=phase.kl.beta > 0,
                checkpointing=options.activation_checkpointing,
            )
            for one in each
        ),
        Work(),
    )
    work = (work + training * phase.epochs) * phase.steps
    sampling, learning = phase.steps * rounds, phase.steps * phase.epochs
    return Stage(
        phase.name,
        steps=phase.steps,
        rollouts=round(sampling * sum(b.rows for b in batches)),
        prefilled=round(sampling * sum(b.prefilled for b in batches)),
        prefilled_unshared=round(sampling * sum(b.unshared for b in batches)),
        sampled=round(sampling * sum(b.decoded + b.rows for b in batches)),
        updates=learning * len(updates),
        trained=learning * sum(p.tokens for p in each),
        trained_unshared=learning * sum(p.unshared for p in each),
        operations=work.total,
        seconds=rates.seconds(work) if rates else None,
    )


def _length(assumed: Assumptions, longest: int) -> int:
    return min(assumed.length or longest, longest)


def _decoded(d: Drawn, length: int, rows: int, shared: bool) -> list[DecodeTokens]:
    return decode_batches(d.prompts, d.phase.rollouts_per_request, length, rows, shared=shared)


def _useful(d: Drawn, length: int, kept: float) -> list[Sample]:
    """The step's samples that updates learn from; a kept share is drawn evenly."""
    phase = d.phase
    per = phase.rollouts_per_request
    if phase.positive_only and phase.keep_per_request:
        per = min(per, phase.keep_per_request)
    samples = [
        made_up(prompt, group, length)
        for group, prompt in enumerate(d.contexts)
        for _ in range(per)
    ]
    if kept == 1:
        return samples
    count = max(1, ceil(kept * len(samples)))
    return [samples[i] for i in sorted(Random(0).sample(range(len(samples)), count))]


def _cut(samples: list[Sample], phase: Phase, seed: int) -> list[list[Sample]]:
    """The samples of each update of an epoch, cut as the trainer cuts them, in an order drawn."""
    size = phase.minibatch or len(samples)
    count = -(-len(samples) // size)
    order = list(range(len(samples)))
    Random(seed).shuffle(order)
    return [[samples[i] for i in order[at::count]] for at in range(count)]


def _update_samples(d: Drawn, length: int, kept: float, seed: int) -> list[Sample]:
    """The samples of an update, of those with the most tokens."""
    cut = _cut(_useful(d, length, kept), d.phase, seed)
    return max(cut, key=lambda batch: sum(len(s.prompt.ids) for s in batch))


def _references(recipe: Recipe) -> int:
    """How many second copies of the model the KL term needs."""
    kinds = {p.kl.reference for p in recipe.stages if p.kl.beta}
    copies = 1 if "phase" in kinds else 0
    return copies + (1 if "initial" in kinds and recipe.lora is None else 0)
