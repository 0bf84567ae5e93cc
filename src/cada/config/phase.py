"""A phase of training: how it samples, what it learns from, and by which loss. Without torch."""

from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from cada.config.baseline import Baseline
from cada.config.section import Section


class RolloutMode(StrEnum):
    """The prompt under which the policy samples."""

    NONE = "none"
    MINIMAL = "minimal"
    CODES = "codes"
    CATEGORY_CODES = "category_codes"
    CASES = "cases"


class Shares(Section):
    """Which requests a step draws, as shares that add up to 1. The paper's are harmful: 1."""

    harmful: float = Field(default=0.5, ge=0, le=1, description="Requests to be refused.")
    lookalike: float = Field(default=0.35, ge=0, le=1, description="Harmless, near a hazard.")
    ordinary: float = Field(default=0.15, ge=0, le=1, description="Everyday requests.")

    @model_validator(mode="after")
    def _add_up(self) -> "Shares":
        total = self.harmful + self.lookalike + self.ordinary
        if abs(total - 1) > 1e-6:
            raise ValueError(
                f"the shares harmful, lookalike and ordinary add up to {total:g} and must give 1"
            )
        return self


class Weights(Section):
    """What a rollout counts for in the loss, by the kind of its request."""

    harmful: float = Field(default=1.0, gt=0, description="More of it refuses more.")
    lookalike: float = Field(default=1.0, gt=0, description="More of it answers more.")
    ordinary: float = Field(default=1.0, gt=0, description="More of it answers more.")


class Kl(Section):
    """The penalty that keeps the policy near its reference."""

    beta: float = Field(default=0.02, ge=0, description="Weight; 0 leaves the term out.")
    estimator: Literal["k1", "k2", "k3", "exact"] = Field(
        default="exact",
        description="`exact` sums over the vocabulary (unbiased in any context); k1, k2 and k3 "
        "estimate from the sampled tokens (Schulman 2020) and need on-policy tokens.",
    )
    place: Literal["loss", "reward"] = Field(
        default="loss", description="Differentiated in the loss, or subtracted from the reward."
    )
    reference: Literal["initial", "phase"] = Field(
        default="initial",
        description="The untrained model (the paper), or the policy at the phase's start.",
    )


class Phase(Section):
    """One stretch of training with one way of sampling and one loss."""

    name: str = Field(min_length=1, description="Shown in the metrics and the report.")
    steps: int = Field(ge=1, description="Rounds of sampling, each followed by its updates.")
    rollout_mode: RolloutMode = Field(
        default=RolloutMode.CASES, description="The prompt while sampling."
    )
    loss_context: Literal["cases", "bare"] = Field(
        default="bare",
        description="`cases`: the gradient is taken under the sampling prompt. `bare`: under the "
        "request alone, so that the model learns to reason without a pack.",
    )
    requests_per_step: int = Field(default=64, ge=1, description="Requests drawn for a step.")
    rollouts_per_request: int = Field(default=4, ge=1, description="Completions a request (G).")
    shares: Shares = Field(default_factory=Shares, description="Which requests a step draws.")
    max_tokens: int = Field(default=96, ge=1, description="Longest completion, in tokens.")
    temperature: float = Field(
        default=1.0,
        gt=0,
        description="Of sampling and of the loss, which asks the policy for the same outputs at "
        "the same temperature: distilling cool samples then does not sharpen it.",
    )
    top_p: float = Field(default=1.0, gt=0, le=1, description="1 samples from the policy itself.")
    advantage: Literal["batch", "group", "leave_one_out", "reward"] = Field(
        default="batch",
        description="What the reward is centred on: the mean of the step's batch, of the "
        "request's group, of the group's other rollouts, or nothing.",
    )
    positive_only: bool = Field(
        default=False,
        description="Learn only from whole rollouts with reward +1 (distillation); safe "
        "off-policy.",
    )
    keep_per_request: int | None = Field(
        default=None, ge=1, description="At most so many positive rollouts a request are kept."
    )
    rounds: int = Field(
        default=1,
        ge=1,
        description="Rounds of sampling in a step. A later one draws cases anew and samples again "
        "for the requests that have no rollout to keep yet; needs positive_only.",
    )
    tell_verdict: bool = Field(
        default=False,
        description="In rounds after the first the output already opens with the right verdict, so "
        "that requests which the model misjudges are learnt too (as STaR rationalises, Zelikman "
        "et al. 2022). Needs prompting.verdict and rounds of 2 or more.",
    )
    ratio_clip: float | None = Field(
        default=None,
        gt=0,
        description="Truncate the importance ratio policy / sampler at this value. Required off "
        "the policy unless positive_only is set.",
    )
    weights: Weights = Field(
        default_factory=Weights, description="Factors of the advantages, by kind of request."
    )
    balance: float = Field(
        default=0.0,
        ge=0,
        description="The advantages of harmful and of harmless requests count by the running share "
        "of them that go wrong (harmful ones not refused, harmless ones refused) to this power, so "
        "that neither error grows at the other's cost. 0 leaves them equal.",
    )
    verdict_weight: float = Field(
        default=1.0,
        gt=0,
        description="Factor of the tokens up to the verdict (prompting.verdict): a few of some "
        "fifty, and the ones that decide.",
    )
    verdict_credit: Literal["reward", "verdict"] = Field(
        default="reward",
        description="What the verdict's tokens are reinforced by: the output's reward, or whether "
        "the verdict is right; nothing is then learnt from what follows a wrong one (needs "
        "prompting.verdict; not with positive_only).",
    )
    opening_weight: float = Field(
        default=1.0,
        gt=0,
        description="Factor of the final response's first token, where it turns to an answer or "
        "to a refusal.",
    )
    loss_aggregation: Literal["sequence_sum", "token_mean"] = Field(
        default="token_mean", description="Sum over a completion's tokens, or mean over all."
    )
    kl: Kl = Field(default_factory=Kl, description="The KL penalty.")
    learning_rate: float = Field(default=2e-6, gt=0, description="Peak learning rate (AdamW).")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="Decay of the learning rate over the phase's updates."
    )
    warmup: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the phase's updates that warm up."
    )
    average: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="The phase ends with the mean of the weights after this share of its updates, "
        "the last ones (Polyak and Juditsky 1992): a line that swings comes to rest in its middle. "
        "0 ends with the last weights.",
    )
    minibatch: int | None = Field(
        default=None,
        ge=1,
        description="Rollouts an update; all of the step's when None. Must divide requests × "
        "rollouts unless positive_only is set.",
    )
    epochs: int = Field(default=1, ge=1, description="Passes over a step's rollouts.")

    @property
    def on_policy(self) -> bool:
        """Whether the loss sees the tokens under the prompt that they were sampled from."""
        same = self.loss_context == "cases" or self.rollout_mode is RolloutMode.NONE
        return same and self.top_p == 1 and self.minibatch is None and self.epochs == 1

    @model_validator(mode="after")
    def _possible(self) -> "Phase":
        batch = self.requests_per_step * self.rollouts_per_request
        if self.minibatch and not self.positive_only and batch % self.minibatch:
            raise ValueError(
                f"minibatch {self.minibatch} does not divide the batch of {batch} rollouts "
                f"({self.requests_per_step} requests × {self.rollouts_per_request})"
            )
        if not self.positive_only:
            idle = {
                "rounds": self.rounds > 1,
                "keep_per_request": self.keep_per_request,
                "tell_verdict": self.tell_verdict,
            }
            if found := [name for name, given in idle.items() if given]:
                raise ValueError(f"{found[0]} acts in distillation alone: set positive_only: true")
        elif self.verdict_credit != "reward":
            raise ValueError("distillation keeps right verdicts alone: leave verdict_credit out")
        elif self.balance:
            raise ValueError("distillation learns from no error: leave balance out, or set weights")
        if self.balance and not 0 < self.shares.harmful < 1:
            raise ValueError("balance needs harmful and harmless requests: see shares")
        if self.tell_verdict and self.rounds < 2:
            raise ValueError("tell_verdict acts in rounds after the first: set rounds to 2 or more")
        if self.advantage in ("group", "leave_one_out") and self.rollouts_per_request < 2:
            raise ValueError(f"advantage {self.advantage} needs rollouts_per_request of 2 or more")
        if not self.on_policy and not self.positive_only and self.ratio_clip is None:
            raise ValueError(
                "an off-policy phase (another loss context, top_p below 1, minibatches or epochs) "
                "has unbounded negative gradients: set positive_only: true or ratio_clip"
            )
        # Distillation keeps some rollouts only: their tokens no longer follow the policy.
        sampled = self.on_policy and not self.positive_only
        if not sampled and self.kl.beta and self.kl.estimator != "exact":
            raise ValueError(
                f"kl.estimator {self.kl.estimator} needs on-policy tokens; use `exact` here"
            )
        if self.kl.beta and self.kl.place == "loss" and self.kl.estimator == "k1":
            raise ValueError(
                "kl.estimator k1 in the loss has a gradient of mean zero; use exact, or kl.place "
                "`reward`"
            )
        if self.kl.place == "reward" and self.kl.estimator != "k1":
            raise ValueError("kl.place `reward` takes the estimator k1 alone")
        return self


def phase_of(baseline: Baseline) -> Phase:
    """The baseline's sampling and training as a phase that learns from what it keeps."""
    benign = baseline.benign_share
    return Phase(
        name=baseline.kind,
        steps=1,
        rollout_mode=RolloutMode(baseline.rollout_mode),
        loss_context="bare",
        requests_per_step=baseline.requests,
        rollouts_per_request=baseline.rollouts_per_request,
        shares=Shares(harmful=1 - benign, lookalike=0.7 * benign, ordinary=0.3 * benign),
        max_tokens=baseline.max_tokens,
        temperature=baseline.temperature,
        advantage="reward",
        positive_only=True,
        keep_per_request=baseline.keep_per_request,
        kl=Kl(beta=0),
        learning_rate=baseline.learning_rate,
        schedule=baseline.schedule,
        warmup=baseline.warmup,
        minibatch=baseline.batch,
        epochs=baseline.epochs,
    )
