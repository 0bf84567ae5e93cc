"""What CADA is compared with: supervised fine-tuning and DPO. Imports without torch.

The paper's baselines (its first author's own figures, where they are known): each is trained on the
bare request, on one fixed refusal or on chains that the model itself wrote under a prompt mode.
"""

from typing import Literal

from pydantic import Field, model_validator

from cada.config.judge import ChatOptions
from cada.config.section import Section

ChainMode = Literal["minimal", "codes", "category_codes", "cases"]


class Baseline(Section):
    """Training by TRL in place of phases; its figures are the first author's where known."""

    kind: Literal["sft", "dpo"] = Field(
        description="Supervised fine-tuning, or direct preference optimisation."
    )
    data: Literal["direct_refusal", "chains"] = Field(
        default="chains",
        description="What harmful requests are answered with: one fixed sentence, or the model's "
        "own chains.",
    )
    refusal: str = Field(
        default="I'm sorry, but I can't help with that.",
        min_length=1,
        description="The fixed sentence of direct_refusal.",
    )
    rollout_mode: ChainMode = Field(
        default="cases", description="The prompt under which the model writes its chains."
    )
    rejected_mode: ChainMode | Literal["none"] | None = Field(
        default="none",
        description="DPO: the prompt under which the rejected answers (reward −1) are sampled. The "
        "bare request by default: the paper's are plain unsafe answers. Null takes them from the "
        "chains' own rollouts.",
    )
    filter: Literal["none", "refused_and_reasoned", "reasoning"] = Field(
        default="none",
        description="SFT: which chains about harmful requests are kept. `none`: all that came to "
        "an end. `refused_and_reasoned`: reward +1. `reasoning`: an analysis that baseline.judge "
        "grades 5 of 5.",
    )
    judge: ChatOptions | None = Field(
        default=None, description="The chat model that grades reasoning, for the filter reasoning."
    )
    requests: int = Field(default=500, ge=1, description="Requests drawn, harmful and harmless.")
    benign_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of harmless requests, seven look-alikes to three ordinary ones; their "
        "answers with reward +1 are learnt. 0 is the paper's.",
    )
    rollouts_per_request: int = Field(default=1, ge=1, description="Chains sampled a request.")
    keep_per_request: int | None = Field(
        default=1, ge=1, description="At most so many chains or pairs a request are learnt from."
    )
    max_tokens: int = Field(default=96, ge=1, description="Longest chain, in tokens.")
    temperature: float = Field(default=1.0, gt=0, description="Of sampling.")
    learning_rate: float = Field(default=1e-6, gt=0, description="Peak learning rate (AdamW).")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="cosine", description="Decay of the learning rate."
    )
    warmup: float = Field(default=0.1, ge=0, lt=1, description="Share of updates that warm up.")
    batch: int = Field(default=64, ge=1, description="Examples or pairs an update.")
    epochs: int = Field(default=1, ge=1, description="Passes over the examples.")
    beta: float = Field(default=0.1, gt=0, description="DPO: how near its reference it stays.")

    @model_validator(mode="after")
    def _possible(self) -> "Baseline":
        if self.kind == "dpo" and self.data != "chains":
            raise ValueError("dpo prefers one answer to another: it needs data: chains")
        if self.filter != "none" and (self.kind == "dpo" or self.data != "chains"):
            raise ValueError("filter acts on the chains of sft; dpo takes its pairs by the reward")
        if (self.filter == "reasoning") != (self.judge is not None):
            raise ValueError("the filter reasoning and the chat model baseline.judge go together")
        return self

    @property
    def samples_harmful(self) -> bool:
        """Whether chains are sampled about harmful requests at all."""
        return self.data == "chains"
