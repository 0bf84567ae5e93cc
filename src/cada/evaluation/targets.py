"""Models that answer: one in memory, or any other that takes the same requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cada.attacks.types import Attempt
from cada.errors import CadaError
from cada.prompting.deliberation import FormatStyle
from cada.rollout.types import Sampling

# One seed for the cases that evaluation prompts show: every model sees the same ones.
CASES_SEED = 0


@dataclass(frozen=True)
class Output:
    """What a model wrote, a prefill that it was made to begin with included.

    `text` is None when the model could not be asked; `problem` says why. `finish_reason` is
    `stop`, `length` or `error`; `tokens` counts the completion alone.
    """

    text: str | None
    tokens: int
    finish_reason: str
    problem: str | None = None


class TargetLostError(CadaError):
    """The model can no longer be asked: its server is gone, or refuses.

    `outputs` holds what it still put out, by the attempt's place.
    """

    def __init__(
        self, what: str, outputs: dict[int, Output], *, where: str | None, mend: str
    ) -> None:
        super().__init__(what, where=where, mend=mend)
        self.outputs = outputs


class Target(Protocol):
    """A model under test."""

    name: str
    style: FormatStyle

    def answer(self, attempts: Sequence[Attempt], mode: str, sampling: Sampling) -> list[Output]:
        """One answer to each attempt under a prompt mode, in their order.

        Raises:
            TargetLostError: the model can no longer be asked.
        """
        ...
