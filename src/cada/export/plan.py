"""What of a phase another trainer can do: the phase to export, and what it would lose.

An export that would train something else is refused. What remains the same training with another
estimate or another scale is exported, and told as a warning.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from cada.config.phase import Phase, RolloutMode, Weights
from cada.config.recipe import Recipe
from cada.errors import CadaError


class Trainer(StrEnum):
    """The trainers that there are exports for."""

    TRL = "trl"
    VERL = "verl"
    OPENRLHF = "openrlhf"


@dataclass
class Plan:
    """A phase and the trainer that is to run it; `warnings` grow as it is translated."""

    recipe: Recipe
    phase: Phase
    trainer: Trainer
    longest_prompt: int
    special_tokens: tuple[str, ...]
    warnings: list[str] = field(default_factory=list)

    @property
    def batch(self) -> int:
        """Completions of a step."""
        return self.phase.requests_per_step * self.phase.rollouts_per_request

    @property
    def update(self) -> int:
        """Completions of an update."""
        return self.phase.minibatch or self.batch

    @property
    def updates(self) -> int:
        """Updates of the whole phase."""
        return self.phase.steps * (self.batch // self.update) * self.phase.epochs

    @property
    def warmup(self) -> int:
        """Updates over which the learning rate rises."""
        return round(self.phase.warmup * self.updates)

    @property
    def alpha(self) -> int:
        """The adapters' scale, for trainers that take a whole number (0 without adapters).

        Raises:
            CadaError: it is none.
        """
        alpha = self.recipe.lora.alpha if self.recipe.lora else 0.0
        if not alpha.is_integer():
            raise CadaError(
                f"{self.trainer} takes a whole number, and {alpha:g} is none",
                where="lora.alpha",
                mend="Round it",
            )
        return int(alpha)

    def warn(self, text: str) -> None:
        """Note what the trainer does otherwise."""
        self.warnings.append(text)


def choose_phase(recipe: Recipe, name: str | None) -> Phase:
    """The phase of that name, or the only one.

    Raises:
        CadaError: there is none of that name, or several and no name.
    """
    if recipe.baseline is not None:
        raise CadaError(
            "a baseline has no phase to export: TRL trains it here",
            where="baseline",
            mend="Run it with cada align",
        )
    names = ", ".join(phase.name for phase in recipe.phases)
    if name is None and len(recipe.phases) > 1:
        raise CadaError(
            f"the recipe has {len(recipe.phases)} phases, and an export holds one",
            where="phases",
            mend=f"Name it with --phase: {names}",
        )
    found = [phase for phase in recipe.phases if name in (None, phase.name)]
    if not found:
        raise CadaError(f"there is no phase {name!r}", where="--phase", mend=f"There are {names}")
    return found[0]


def check(recipe: Recipe, phase: Phase, trainer: Trainer) -> None:
    """See that the trainer can train what the phase trains.

    Raises:
        CadaError: the trainer would learn something else.
    """
    if recipe.model.startswith("builtin:") or recipe.model.endswith(".gguf"):
        raise CadaError(
            f"{trainer} loads models from the hub or from a folder, and {recipe.model} is neither",
            where="model",
            mend="Write model=FOLDER, such as the model/ of a run of cada",
        )
    if phase.positive_only:
        raise CadaError(
            f"the phase distils its best outputs, and {trainer} has no such phase",
            where=f"phase {phase.name!r}",
            mend="Run it with cada align, and export a phase of reinforcement",
        )
    same = phase.loss_context == "cases" or phase.rollout_mode is RolloutMode.NONE
    if not same:
        raise CadaError(
            f"the loss is asked for under the bare request and the rollouts under "
            f"{phase.rollout_mode}, and {trainer} takes its loss where it samples",
            where=f"phase {phase.name!r}",
            mend="Set loss_context: cases, or rollout_mode: none",
        )
    if phase.advantage == "reward":
        raise CadaError(
            f"the rewards are asked for uncentred, and {trainer} always centres them",
            where=f"phase {phase.name!r}",
            mend="Set advantage: leave_one_out",
        )
    if trainer is Trainer.TRL and phase.rollouts_per_request < 2:
        raise CadaError(
            "TRL centres rewards within a request's group, and one rollout is no group",
            where=f"phase {phase.name!r}",
            mend="Set rollouts_per_request to 2 or more",
        )
    if phase.minibatch and phase.minibatch % phase.rollouts_per_request:
        raise CadaError(
            f"an update of {phase.minibatch} rollouts cuts groups of "
            f"{phase.rollouts_per_request} apart, and {trainer} wants them whole",
            where=f"phase {phase.name!r}",
            mend="Make minibatch a multiple of rollouts_per_request",
        )


def common_warnings(plan: Plan) -> None:
    """What none of the trainers does as `cada align` does it."""
    recipe, phase = plan.recipe, plan.phase
    if recipe.phases[0] is not phase:
        before = ", ".join(p.name for p in recipe.phases[: recipe.phases.index(phase)])
        plan.warn(
            f"the phase follows {before}: give the model that came out of there "
            f"(model=FOLDER), or training starts from {recipe.model}"
        )
        if phase.kl.beta and phase.kl.reference == "initial":
            plan.warn(
                "kl.reference is `initial`, and the reference will be the model that training "
                "starts from"
            )
    for name in ("verdict_weight", "opening_weight"):
        if getattr(phase, name) != 1:
            plan.warn(f"{name} is left out: every token counts the same")
    if phase.verdict_credit != "reward":
        plan.warn("verdict_credit is left out: the verdict is reinforced by the output's reward")
    if phase.balance or phase.weights != Weights():
        plan.warn("balance and weights are left out: harmful and harmless requests count the same")
    if phase.average:
        plan.warn("average is left out: the phase ends with its last weights")
    if phase.kl.beta and phase.kl.place == "loss" and phase.kl.estimator == "exact":
        plan.warn("the KL is estimated from the sampled tokens, and not summed over the vocabulary")
    if phase.top_p < 1:
        plan.warn(
            "top_p below 1: the sampler is not the policy, and the loss takes it as if it were"
        )
    if recipe.judge.kind not in ("refusal", "harm") and recipe.judge.chat is None:
        plan.warn(f"every process that rewards loads the judge {recipe.judge.kind}")
    if recipe.judge.chat is not None or recipe.reward.judge is not None:
        plan.warn(
            "the caps on calls and cost hold in each process that rewards, and not for all together"
        )
