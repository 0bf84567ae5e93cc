"""Floating-point operations and time. Imports without torch."""

from dataclasses import dataclass

from cada.planning.shape import ModelShape
from cada.planning.tokens import DecodeTokens, PassTokens

# What passes over long rows reach of the matrix rate: norms, activations, attention's softmax and
# the optimiser take their time too. On a CPU measured on the built-in model, on a GPU the target.
_SHARE = {"cpu": 0.65, "cuda": 0.4}


@dataclass(frozen=True)
class Rates:
    """Operations a second: `wide` of a matrix product of many rows, `narrow` of one with as many
    rows as are decoded at once, which waits for the weights."""

    wide: float
    narrow: float
    device: str

    def seconds(self, work: "Work") -> float:
        """How long the work takes."""
        passes = (work.trained + work.prefilled) / self.wide
        return (passes + work.decoded / self.narrow) / _SHARE[self.device]


@dataclass(frozen=True)
class Work:
    """Operations: `prefilled` and `decoded` in sampling, `trained` in updates."""

    prefilled: float = 0.0
    decoded: float = 0.0
    trained: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.prefilled + other.prefilled,
            self.decoded + other.decoded,
            self.trained + other.trained,
        )

    def __mul__(self, times: float) -> "Work":
        return Work(self.prefilled * times, self.decoded * times, self.trained * times)

    @property
    def total(self) -> float:
        """All operations."""
        return self.prefilled + self.decoded + self.trained


def sampling_work(shape: ModelShape, batch: DecodeTokens) -> Work:
    """Two operations a multiplied parameter and token, the head for every drawn token."""
    head = 2 * shape.hidden * shape.vocabulary
    attention = 4 * shape.queries * shape.layers * batch.pairs
    drawn = batch.decoded + batch.rows
    return Work(
        prefilled=2.0 * shape.multiplied * batch.prefilled,
        decoded=2.0 * shape.multiplied * batch.decoded + head * drawn + attention,
    )


def update_work(
    shape: ModelShape, batch: PassTokens, *, references: bool, checkpointing: bool
) -> Work:
    """Forward and backward: two and four operations a trained parameter and token.

    Frozen weights ask for no gradient of their own: four instead of six. The head is computed
    twice, forward and in place of its backward pass under LoRA, and a second time in full.
    """
    forward = 2.0 * shape.multiplied * batch.tokens
    forward += 4.0 * shape.queries * shape.layers * batch.pairs
    head = 2.0 * shape.hidden * shape.vocabulary * batch.outputs
    times = (3 if shape.full else 2) + checkpointing + references
    heads = (4 if shape.full else 2) + (2 if references else 0)
    adapters = 0 if shape.full else 6.0 * shape.trained * batch.tokens
    return Work(trained=times * forward + heads * head + adapters)
