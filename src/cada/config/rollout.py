"""What samples a run's rollouts, in a recipe. Imports without torch."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from cada.config.section import Section


class VllmOptions(Section):
    """How vLLM samples, and how it gets the weights."""

    mode: Literal["server", "colocated"] = Field(
        default="server",
        description="`server` talks to a running vLLM server, in an environment or on a machine of "
        "its own; `colocated` runs vLLM in the trainer's own process, beside the model.",
    )
    base_url: str = Field(
        default="http://127.0.0.1:8000/v1", description="The server, up to and with its `/v1`."
    )
    model: str | None = Field(
        default=None, description="The server's name of the model; the one it serves when null."
    )
    weights: Path | None = Field(
        default=None,
        description="A folder that the server sees under the same path: each update's weights are "
        "written there for it. In the run's folder when null.",
    )
    concurrency: int = Field(default=64, ge=1, description="Prompts that are open at a time.")
    retries: int = Field(default=2, ge=0, description="Further attempts of one call.")
    timeout: float = Field(default=600.0, gt=0, description="Seconds that an attempt may take.")
    gpu_memory_utilization: float = Field(
        default=0.3,
        gt=0,
        lt=1,
        description="Share of the GPU's memory for vLLM's weights and cache (`colocated`).",
    )
    max_model_len: int | None = Field(
        default=None,
        ge=1,
        description="Longest prompt and completion together, in tokens (`colocated`); the model's "
        "own limit when null.",
    )
    ratio_clip: float | None = Field(
        default=2.0,
        gt=0,
        description="Truncate the importance ratio policy / sampler at this value also in phases "
        "without a ratio_clip of their own, for vLLM rounds otherwise than the trainer. Not with "
        "positive_only; null leaves such phases without a ratio.",
    )
    check_rollouts: int = Field(
        default=32,
        ge=1,
        description="Rollouts of a step whose log-probabilities the trainer computes too.",
    )
    mismatch_limit: float = Field(
        default=0.1,
        gt=0,
        description="Mean difference of these log-probabilities, in nats a token, at which the run "
        "stops: vLLM does not sample from the policy then.",
    )


class RolloutOptions(Section):
    """What samples."""

    engine: Literal["transformers", "vllm"] = Field(
        default="transformers",
        description="`transformers` samples from the model in memory, `vllm` from a copy in vLLM.",
    )
    vllm: VllmOptions = Field(default_factory=VllmOptions, description="For `vllm`.")

    @model_validator(mode="after")
    def _vllm_is_used(self) -> "RolloutOptions":
        if self.engine != "vllm" and self.vllm != VllmOptions():
            raise ValueError("the vllm options act with `engine: vllm` alone")
        return self
