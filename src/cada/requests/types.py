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
    resembles, an ordinary request carries None. `category` is what its source files it under,
    where that is no hazard of a casebook: it is shown in tables and never enters a prompt. `kind`
    names the three populations that are reported apart: `harmful`, `lookalike`, `ordinary`.
    """

    id: str
    text: str
    harmful: bool
    hazard: str | None
    source: str
    system: str | None = None
    history: tuple[Turn, ...] = ()
    category: str | None = None

    @property
    def kind(self) -> str:
        """`harmful`, `lookalike` (harmless, near a hazard or a category of harm) or `ordinary`."""
        if self.harmful:
            return "harmful"
        return "lookalike" if self.hazard or self.category else "ordinary"
