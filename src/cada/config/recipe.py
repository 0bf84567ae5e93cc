"""A recipe: everything that an alignment run depends on. Imports without torch.

Every default is the recommended setting; `cada align` writes the resolved recipe, with all of
them, to the run's `config.yaml`.
"""

from typing import Literal

from pydantic import Field, model_validator

from cada.config.baseline import Baseline
from cada.config.judge import ChatOptions, JudgeOptions
from cada.config.phase import Phase, RolloutMode, phase_of
from cada.config.rollout import RolloutOptions
from cada.config.section import Section
from cada.config.sources import RequestSource


class Lora(Section):
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


class Prompting(Section):
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
    cases_of: Literal["own", "other"] = Field(
        default="own",
        description="Whose cases a request sees: those of its own hazard, or those of another one. "
        "`other` is an ablation: the cases still show the format and the manner, but no precedent.",
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


class RewardOptions(Section):
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


class Guard(Section):
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


class Training(Section):
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


class Requests(Section):
    """Where training and evaluation requests come from."""

    train: list[RequestSource] = Field(
        default_factory=lambda: [RequestSource(embedded=True, split="train")],
        description="Sources to train on, put together.",
    )
    distinct: int | None = Field(
        default=None,
        ge=1,
        description="Train on so many of them alone, drawn once by the first phase's shares; steps "
        "that ask for more come back to them. Null draws from all.",
    )
    evaluate: list[RequestSource] = Field(
        default_factory=lambda: [RequestSource(embedded=True, split="test", practice=False)],
        description="Sources of the before/after table.",
    )


class EvaluationOptions(Section):
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


class Recipe(Section):
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
