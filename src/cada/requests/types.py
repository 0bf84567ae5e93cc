"""A request to a model, with what is known about it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """One earlier turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Request:
    """A request, its label and its context.

    `hazard` is a casebook hazard's id; a harmless look-alike carries the hazard that it
    resembles, an ordinary request carries None. `kind` names the three populations that are
    reported apart: `harmful`, `lookalike`, `ordinary`.
    """

    id: str
    text: str
    harmful: bool
    hazard: str | None
    source: str
    system: str | None = None
    history: tuple[Turn, ...] = ()

    @property
    def kind(self) -> str:
        """`harmful`, `lookalike` (harmless, near a hazard) or `ordinary`."""
        if self.harmful:
            return "harmful"
        return "lookalike" if self.hazard else "ordinary"
