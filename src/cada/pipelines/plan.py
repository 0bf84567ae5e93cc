"""`cada align --plan`: a run foreseen from its recipe, without its weights."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from cada.casebook.loader import load_casebook
from cada.config.recipe import Lora, Recipe, Training
from cada.errors import CadaError
from cada.evaluation.targets import CASES_SEED
from cada.models.load import has_system_role, is_wide, load_config, place
from cada.pipelines.evaluate import attempts_under
from cada.planning.machine import free_memory, has_bfloat16, measure_rates
from cada.planning.plan import Assumptions, Drawn, Memory, Plan, memory_of, stages_of
from cada.planning.shape import ModelShape, shape_of
from cada.planning.work import Rates
from cada.requests.sources import load_sets
from cada.rollout.prompts import Prompter
from cada.rollout.types import Prompt
from cada.training.draw import RequestStream, derive_seed, training_requests

log = logging.getLogger(__name__)

# Predictions are right to a quarter: above this, a run cannot fit.
_MARGIN = 1.25
_ROWS_TIMED = 128


class Planner:
    """What a recipe's run will take; the prompts are made once, changes of it are tried quickly."""

    def __init__(self, recipe: Recipe, free: int | None = None) -> None:
        """Read the config and the requests.

        Args:
            recipe: the run.
            free: bytes that are there; what this machine has now when None.

        Raises:
            CadaError: bad input, or a config that is not a causal decoder's.
        """
        self.recipe = recipe
        self.device = place(recipe.device)
        self.free = free_memory(self.device) if free is None else free
        self.config, tokenizer = load_config(recipe.model)
        self.drawn, self.measured = _prompts(recipe, tokenizer)
        self.shape = self._shape(recipe)

    def memory(self, recipe: Recipe | None = None) -> Memory:
        """The memory of the run, or of one with another recipe over the same prompts."""
        shape = self.shape if recipe is None else self._shape(recipe)
        own = recipe or self.recipe
        drawn = [replace(d, phase=p) for d, p in zip(self.drawn, own.stages, strict=True)]
        return memory_of(own, shape, drawn, self.measured, device=self.device.type, free=self.free)

    def plan(self, assumed: Assumptions, rates: Rates | None) -> Plan:
        """The whole plan."""
        memory = self.memory()
        longest = "the longest that it may be" if assumed.length is None else str(assumed.length)
        assumptions = [f"a completion's length in tokens: {longest} (--length)"]
        if any(p.positive_only for p in self.recipe.stages):
            assumptions.append(
                f"share of rollouts that distillation keeps: {assumed.kept:g} (--kept)"
            )
        if not self.shape.shared:
            assumptions.append("this model's attention cannot share prefixes")
        return Plan(
            self.recipe.model,
            self.device.type,
            "float32" if self.shape.wide else "bfloat16",
            self.shape.shared,
            memory,
            stages_of(self.recipe, self.shape, self.drawn, self.measured, assumed, rates),
            rates,
            assumptions,
            [] if memory.fits else self.advice(),
        )

    def advice(self) -> list[str]:
        """What to change where it does not fit, each with the peak that is then to be expected."""
        said, alone_fits = [], False
        now, together = self.memory(), self.recipe
        own = next(p.bytes for p in now.parts if p.name == "process")
        for words, changed in _changes(self.recipe, self.device.type):
            alone, together = self.memory(changed(self.recipe)), changed(together)
            if now.peak - alone.peak > 0.02 * (now.peak - own):
                alone_fits |= alone.fits
                fits = "fits" if alone.fits else "does not fit by itself"
                said.append(f"{words}: the peak is then {gigabytes(alone.peak)}, which {fits}.")
        after = self.memory(together)
        if not after.fits:
            said.append(
                "All of these together do not fit: use a smaller model, or a machine with "
                f"{gigabytes(after.peak)} or more."
            )
        elif not alone_fits:
            said.append(f"All of these together take {gigabytes(after.peak)}, which fits.")
        return said

    def _shape(self, recipe: Recipe) -> ModelShape:
        wide = is_wide(recipe.dtype, self.device)
        return shape_of(self.config, lora=recipe.lora, phases=len(recipe.stages), wide=wide)


def foresee(recipe: Recipe, assumed: Assumptions, rate: float | None = None) -> Plan:
    """The plan of a recipe's run on this machine.

    Args:
        recipe: the run.
        assumed: what no one knows before sampling.
        rate: the matrix rate in operations a second; measured in about a second when None.

    Raises:
        CadaError: bad input, or a config that is not a causal decoder's.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    check_precision(recipe)
    planner = Planner(recipe)
    if rate is not None:
        rates = Rates(rate, rate, planner.device.type)
    else:
        rows = min(_ROWS_TIMED, recipe.training.rows_per_batch)
        tokens = recipe.training.tokens_per_microbatch
        rates = measure_rates(planner.shape, planner.device, tokens=min(tokens, 4096), rows=rows)
    return planner.plan(assumed, rates)


def check_memory(recipe: Recipe, free: int | None = None) -> None:
    """See that the run can fit.

    Raises:
        CadaError: by the prediction it needs clearly more memory than there is.
    """
    try:
        planner = Planner(recipe, free)
        memory = planner.memory()
    except CadaError as error:
        log.info("no prediction of memory: %s", error)
        return
    if memory.peak <= _MARGIN * memory.free:
        return
    advice = " ".join(planner.advice()[:2])
    raise CadaError(
        f"the run needs about {gigabytes(memory.peak)} of memory and "
        f"{gigabytes(memory.free)} are free",
        where=f"{recipe.model} on {planner.device.type}",
        mend=f"{advice} See cada align RECIPE --plan; --force starts it all the same",
    )


def check_precision(recipe: Recipe) -> None:
    """See that the device computes in the number format that is asked for.

    Raises:
        CadaError: it would only imitate bfloat16, slowly.
    """
    device = place(recipe.device)
    if recipe.dtype == "bfloat16" and not has_bfloat16(device):
        raise CadaError(
            f"this machine's {device.type} does not compute in bfloat16",
            where="dtype",
            mend="Set dtype: auto or float32",
        )


def gigabytes(count: float) -> str:
    """Bytes for people, in 10⁹."""
    return f"{count / 1e9:.1f} GB"


def _prompts(recipe: Recipe, tokenizer: Any) -> tuple[list[Drawn], list[list[Prompt]]]:
    """The prompts of every phase's first step, and of every set and mode that is measured."""
    casebook = load_casebook(recipe.casebook)
    train = training_requests(recipe, casebook)
    stream = RequestStream(train, recipe.seed)
    stream.check(recipe.stages)
    prompter = Prompter(casebook, recipe.prompting, tokenizer, has_system_role(tokenizer))
    drawn = []
    for phase in recipe.stages:
        seed, mode = derive_seed(recipe.seed, phase.name, 0), str(phase.rollout_mode)
        requests = stream.draw(phase, 0)
        fixed = recipe.baseline is not None and not recipe.baseline.samples_harmful
        sampled = [r for r in requests if not (fixed and r.harmful)]
        prompts = [prompter.prompt(r, mode, seed, sampling=True) for r in sampled]
        contexts = prompts
        if phase.loss_context == "bare":
            contexts = [prompter.prompt(r, "none", seed) for r in requests]
        drawn.append(Drawn(phase, prompts, contexts))
    attacks, where = recipe.evaluation.attacks, "evaluation.attacks"
    measured = [
        [prompter.prompt(a.sent, str(mode), CASES_SEED, prefill=a.prefill) for a in attempts]
        for requests in load_sets(recipe.requests.evaluate, casebook).values()
        for attempts in [attempts_under(attacks, requests, prompter.style, where)]
        for mode in recipe.evaluation.modes
        if attempts
    ]
    return drawn, measured


def _changes(recipe: Recipe, device: str) -> Sequence[tuple[str, Any]]:
    """What can be changed, each as words and as a change of a recipe."""
    options, lora = recipe.training, Lora()
    found: list[tuple[str, Any]] = []

    def training(**values: Any) -> Any:
        return lambda r: r.model_copy(
            update={"training": Training.model_validate(r.training.model_dump() | values)}
        )

    if not options.activation_checkpointing:
        found.append(
            (
                "training.activation_checkpointing=true keeps each layer's input alone, for about "
                "a third more time",
                training(activation_checkpointing=True),
            )
        )
    tokens, rows = max(64, options.tokens_per_microbatch // 4), max(1, options.rows_per_batch // 4)
    if tokens < options.tokens_per_microbatch:
        found.append(
            (
                f"training.tokens_per_microbatch={tokens} makes the passes smaller",
                training(tokens_per_microbatch=tokens),
            )
        )
    if rows < options.rows_per_batch:
        found.append(
            (
                f"training.rows_per_batch={rows} decodes fewer rows at once",
                training(rows_per_batch=rows),
            )
        )
    if recipe.lora is None:
        found.append(
            (
                f"lora={{rank: {lora.rank}}} trains adapters instead of every weight",
                lambda r: r.model_copy(update={"lora": lora}),
            )
        )
    if is_wide(recipe.dtype, torch.device(device)) and has_bfloat16(torch.device(device)):
        found.append(
            (
                "dtype=bfloat16 halves the weights under LoRA, and the activations",
                lambda r: r.model_copy(update={"dtype": "bfloat16"}),
            )
        )
    if any(p.kl.beta and p.kl.reference == "phase" for p in recipe.stages):
        found.append(
            (
                "kl.reference: initial in every phase needs no second model under LoRA",
                _initial,
            )
        )
    return found


def _initial(recipe: Recipe) -> Recipe:
    phases = [
        p.model_copy(update={"kl": p.kl.model_copy(update={"reference": "initial"})})
        for p in recipe.phases
    ]
    return recipe.model_copy(update={"phases": phases})
