"""What a rollout engine takes and gives."""

from dataclasses import dataclass
from typing import Protocol

from cada.errors import CadaError


@dataclass(frozen=True)
class Prompt:
    """A tokenised prompt in two parts, so that what is shared is computed once.

    `pack_ids` (code and cases, or the chat template's own preamble) are common to every request
    with the same pack; `request_ids` follow them. `pack_ids + request_ids` is exactly what the
    chat template gives for the whole conversation. With a `seed` of its own, a prompt's completions
    do not depend on the other prompts of the call.
    """

    request_id: str
    mode: str
    pack_ids: tuple[int, ...]
    request_ids: tuple[int, ...]
    seed: int | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """The whole prompt."""
        return self.pack_ids + self.request_ids


@dataclass(frozen=True)
class Rollout:
    """One sampled completion. `completion_ids` and `logprobs` include the stop token.

    `logprobs` are natural logs under the sampling distribution. `finish_reason` is `stop` or
    `length`.
    """

    request_id: str
    mode: str
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: str


@dataclass(frozen=True)
class Sampling:
    """How to sample: temperature 0 is greedy; top_p 1 is the policy itself."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


class Engine(Protocol):
    """Samples completions from the policy as it is now."""

    def generate(
        self, prompts: list[Prompt], samples: int, sampling: Sampling, seed: int
    ) -> list[list[Rollout]]:
        """`samples` completions a prompt, in the prompts' order."""
        ...


class OutsideEngine(Engine, Protocol):
    """Samples from a copy of the policy, which has to be told of every update."""

    def take_weights(self) -> None:
        """Sample from the policy as it is now.

        Of many processes all call this together.

        Raises:
            CadaError: the weights could not be handed over.
        """
        ...


class EngineLostError(CadaError):
    """The engine can sample no more: its server is gone.

    `had` holds what it still gave, by the prompt's place in the call.
    """

    def __init__(
        self, what: str, had: dict[int, list[Rollout]], *, where: str | None, mend: str
    ) -> None:
        super().__init__(what, where=where, mend=mend)
        self.had = had
