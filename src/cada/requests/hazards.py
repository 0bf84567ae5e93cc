"""The paper's twelve hazards, and how a label in a file is read as one of them."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from textwrap import shorten

from cada.casebook.schema import Casebook
from cada.errors import CadaError


@dataclass(frozen=True)
class HazardName:
    """A hazard's number in the paper's classifier, its id and its written name."""

    number: int
    id: str
    name: str


PAPER_HAZARDS = (
    HazardName(1, "violent_crimes", "Violent crimes"),
    HazardName(2, "nonviolent_crimes", "Non-violent crimes"),
    HazardName(3, "sex_crimes", "Sex-related crimes"),
    HazardName(4, "child_exploitation", "Child sexual exploitation"),
    HazardName(5, "wmd", "Weapons of mass destruction"),
    HazardName(6, "self_harm", "Suicide and self-harm"),
    HazardName(7, "hate", "Hate"),
    HazardName(8, "privacy", "Privacy"),
    HazardName(9, "intellectual_property", "Intellectual property"),
    HazardName(10, "disinformation", "Disinformation and defamation"),
    HazardName(11, "elections", "Elections"),
    HazardName(12, "sexual_content", "Sexual content"),
)

SAFE = "safe"
"""What label 0 means: no hazard, harmless."""

OTHER = "other"
"""What label 13 means: harmful, but none of the hazards."""


class HazardLabels:
    """Reads hazard labels: a casebook's ids, numbers or names, and 0 (safe) and 13 (other).

    Case, punctuation, "and" and what stands in brackets do not matter: `Suicide & Self-Harm` and
    `self_harm` are one label. Without a casebook the paper's twelve are known.
    """

    def __init__(self, casebook: Casebook | None = None) -> None:
        if casebook is None:
            names = list(PAPER_HAZARDS)
        else:
            names = [HazardName(h.number, h.id, h.name) for h in casebook.hazards]
        self.ids = tuple(name.id for name in names)
        self._known = {"0": SAFE, SAFE: SAFE, "13": OTHER, OTHER: OTHER}
        for name in [paper for paper in PAPER_HAZARDS if paper.id in self.ids] + names:
            for label in (str(name.number), name.id, name.name):
                self._known[_plain(label)] = name.id

    def resolve(self, label: object, where: str) -> str | None:
        """The hazard's id, `SAFE` or `OTHER`; None for an empty label.

        Raises:
            CadaError: the label is none of these; `where` is named.
        """
        if label is None or label != label or not str(label).strip():  # noqa: PLR0124 (NaN)
            return None
        plain = _plain(str(label))
        if plain in self._known:
            return self._known[plain]
        near = get_close_matches(plain, self._known, n=1)
        hint = f"Did you mean '{self._known[near[0]]}'? " if near else ""
        raise CadaError(
            f"unknown hazard '{shorten(str(label), 60)}'",
            where=where,
            mend=f"{hint}Known are 0 (safe), 13 (other) and {', '.join(self.ids)}",
        )


def _plain(label: str) -> str:
    label = re.sub(r"\(.*?\)", " ", label.casefold())
    label = re.sub(r"^\s*(\d+)\.0+\s*$", r"\1", label)
    return " ".join(w for w in re.split(r"[^a-z0-9]+", label) if w and w != "and")
