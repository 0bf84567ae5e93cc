"""A recipe: everything that an alignment run depends on. Imports without torch.

Every default is the recommended setting; `cada align` writes the resolved recipe, with all of
them, to the run's `config.yaml`.
"""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cada.config.baseline import Baseline
from cada.config.judge import ChatOptions, JudgeOptions
from cada.config.rollout import RolloutOptions
from cada.config.sources import RequestSource


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RolloutMode(StrEnum):
    """The prompt under which the policy samples."""

    NONE = "none"
    MINIMAL = "minimal"
    CODES = "codes"
    CATEGORY_CODES = "category_codes"
    CASES = "cases"


class Lora(_Section):
    """Low-rank adapters instead of full fine-tuning."""

    rank: int = Field(default=16, ge=1, description="Rank of the adapters.")
    alpha: float = Field(default=32.0, gt=0, description="Scale; alpha / rank multiplies them.")
    target_modules: str | list[str] = Field(
        default="all-linear", description="Modules to adapt, by name, or `all-linear`."
    )
    per_phase: bool = Field(
        default=False,
        description="Every phase trains fresh adapters, on top of the earlier phases', which stay "
        "as they are; one pair for all phases otherwise. Needs merge_lora.",
    )


class Prompting(_Section):
    """How the pack (code and cases) is put before a request."""

    style: Literal["headings", "think_tags"] = Field(
        default="headings", description="How the analysis and the final response are marked."
    )
    cases_as: Literal["turns", "inline"] = Field(
        default="turns",
        description="Cases as earlier chat turns (small models follow these better) or as text.",
    )
    cases: int = Field(default=3, ge=1, le=16, description="Cases in a pack.")
    refuse_share: float | Literal["matched"] = Field(
        default=0.5,
        description="Share of refusing cases in a pack. `matched` shows a harmful request only "
        "refusing cases and a harmless one only complying cases: a hint that helps sampling and "
        "that no prompt carries after training.",
    )
    verdict: bool = Field(
        default=False,
        description="Open every analysis with its verdict, `Harmful.` or `Harmless.`, in the cases "
        "and in what earns +1: small models judge best before they have written anything else.",
    )
    classify: bool = Field(
        default=False,
        description="A request without a hazard sees the code and cases of the one that the "
        "offline classifier finds, in the modes with a pack.",
    )
    hint: bool = Field(
        default=False, description="Name the request's hazard in the prompt while sampling."
    )

    @model_validator(mode="after")
    def _share_is_a_share(self) -> "Prompting":
        if isinstance(self.refuse_share, float) and not 0 <= self.refuse_share <= 1:
            raise ValueError("refuse_share lies between 0 and 1, or is `matched`")
        return self


class Shares(_Section):
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


class Weights(_Section):
    """What a rollout counts for in the loss, by the kind of its request."""

    harmful: float = Field(default=1.0, gt=0, description="More of it refuses more.")
    lookalike: float = Field(default=1.0, gt=0, description="More of it answers more.")
    ordinary: float = Field(default=1.0, gt=0, description="More of it answers more.")


class Kl(_Section):
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


class Phase(_Section):
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


class RewardOptions(_Section):
    """What counts as reasoning in the reward."""

    reasoning: Literal["nonempty", "substantive", "judged"] = Field(
        default="substantive",
        description="`nonempty` is the paper's; `substantive` asks that the analysis speaks of "
        "the request in words of its own, that nothing is repeated, and that an answer to a benign "
        "request says something that is not the analysis over again; `judged` also asks a chat "
        "model for the analysis' quality.",
    )
    judge: ChatOptions | None = Field(
        default=None, description="The chat model that grades reasoning, for `judged`."
    )
    quality: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="The least quality that earns +1 under `judged`: (grade − 1) / 4 of the grades "
        "1 to 5. An analysis that could not be graded gives no gradient.",
    )

    @model_validator(mode="after")
    def _has_a_judge(self) -> "RewardOptions":
        if (self.reasoning == "judged") != (self.judge is not None):
            raise ValueError("reasoning `judged` and the chat model reward.judge go together")
        return self


class Guard(_Section):
    """When to stop, or to roll back to the last good checkpoint."""

    kl_limit: float = Field(
        default=1.0,
        gt=0,
        description="Mean KL to the phase's reference, in nats per token, at the phase's "
        "temperature.",
    )
    benign_refusal_limit: float = Field(
        default=0.85,
        gt=0,
        le=1,
        description="Refused share of benign rollouts at which answers have collapsed.",
    )
    patience: int = Field(
        default=2, ge=1, description="Steps in a row over a limit before the run rolls back."
    )


class Training(_Section):
    """Optimiser, memory and safety."""

    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's weight decay.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradient norm is clipped here.")
    tokens_per_microbatch: int = Field(
        default=2048, ge=64, description="Tokens of one forward and backward pass."
    )
    activation_checkpointing: bool = Field(
        default=False,
        description="Compute each layer again in the backward pass instead of keeping its "
        "activations: far less memory, for about a third more time.",
    )
    row_seeds: bool = Field(
        default=False,
        description="Sample every completion from a seed of its own, so that it does not depend on "
        "rows_per_batch. Several processes always do; one then samples the same texts as they.",
    )
    rows_per_batch: int = Field(default=128, ge=1, description="Completions decoded at once.")
    checkpoint_every: int = Field(default=1, ge=1, description="Steps between checkpoints.")
    keep_checkpoints: int = Field(default=2, ge=1, description="Checkpoints kept, the newest.")
    guard: Guard = Field(default_factory=Guard, description="Stops a run that goes wrong.")
    trackers: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        default_factory=list, description="Experiment trackers, through accelerate."
    )


class Requests(_Section):
    """Where training and evaluation requests come from."""

    train: list[RequestSource] = Field(
        default_factory=lambda: [RequestSource(embedded=True, split="train")],
        description="Sources to train on, put together.",
    )
    evaluate: list[RequestSource] = Field(
        default_factory=lambda: [RequestSource(embedded=True, split="test", practice=False)],
        description="Sources of the before/after table.",
    )


class EvaluationOptions(_Section):
    """The before/after measurement."""

    modes: list[RolloutMode] = Field(
        default_factory=lambda: [RolloutMode.NONE, RolloutMode.CASES],
        description="Prompt modes to measure.",
    )
    attacks: list[str] = Field(
        default_factory=lambda: ["none"],
        min_length=1,
        description="Put on harmful requests: `none`, an offline attack by name, or a file "
        "of `cada attack build`.",
    )
    max_tokens: int = Field(default=128, ge=1, description="Longest answer, in tokens.")
    canary: str | None = Field(
        default="embedded",
        description="Question-answer pairs for the damage check: `embedded`, a jsonl file with "
        "question and answer, or null.",
    )


class Recipe(_Section):
    """One alignment run."""

    model: str = Field(
        default="builtin:smollm2-135m",
        description="Hub id, folder, .gguf file or builtin:smollm2-135m.",
    )
    output: str = Field(default="runs/align", description="The run's folder.")
    casebook: str = Field(default="default", description="`default`, a folder or a YAML file.")
    seed: int = Field(default=0, ge=0, description="Seed of sampling and of every draw.")
    device: Literal["cpu", "cuda"] | None = Field(
        default=None, description="CUDA where there is one when null."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Of the arithmetic: float32 on a CPU and bfloat16 on a GPU when `auto`. Full "
        "fine-tuning keeps float32 weights under either.",
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads; PyTorch's own choice when null."
    )
    lora: Lora | None = Field(default=None, description="Adapters; null trains every weight.")
    merge_lora: bool = Field(default=True, description="Merge adapters into the saved weights.")
    prompting: Prompting = Field(default_factory=Prompting, description="The pack.")
    requests: Requests = Field(default_factory=Requests, description="Requests.")
    judge: JudgeOptions = Field(
        default_factory=JudgeOptions, description="Decides what an answer is, here and there."
    )
    reward: RewardOptions = Field(default_factory=RewardOptions, description="The reward.")
    rollout: RolloutOptions = Field(
        default_factory=RolloutOptions, description="What samples while training."
    )
    training: Training = Field(default_factory=Training, description="Optimiser and safety.")
    evaluation: EvaluationOptions = Field(
        default_factory=EvaluationOptions, description="Before and after."
    )
    phases: list[Phase] = Field(
        default_factory=list, description="The stages of training, in order: CADA."
    )
    baseline: Baseline | None = Field(
        default=None, description="Training to compare with, in place of phases."
    )

    @property
    def stages(self) -> list[Phase]:
        """What samples and trains: the phases, or a baseline as the phase that it amounts to."""
        return self.phases if self.baseline is None else [phase_of(self.baseline)]

    @model_validator(mode="after")
    def _phases_fit(self) -> "Recipe":
        if bool(self.phases) == (self.baseline is not None):
            raise ValueError("a recipe says once how the model is trained: phases or baseline")
        if not self.prompting.verdict and any(p.verdict_weight != 1 for p in self.phases):
            raise ValueError("phases.verdict_weight needs prompting.verdict: true")
        if not self.prompting.verdict and any(p.verdict_credit != "reward" for p in self.phases):
            raise ValueError("phases.verdict_credit needs prompting.verdict: true")
        if not self.prompting.verdict and any(p.tell_verdict for p in self.phases):
            raise ValueError("phases.tell_verdict needs prompting.verdict: true")
        if self.lora and self.lora.per_phase and not self.merge_lora:
            raise ValueError("lora.per_phase needs merge_lora: true: one pair alone is no model")
        names = [p.name for p in self.phases]
        if len(set(names)) < len(names):
            raise ValueError("two phases share a name; name each one differently")
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
