"""What a casebook is: short codes, long rules and illustrative cases, by hazard."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class CaseKind(StrEnum):
    """What the right answer to a case does."""

    REFUSE = "refuse"
    COMPLY = "comply"


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Case(_Frozen):
    """One worked example: a request, how to think about it, and what to answer."""

    id: str = Field(min_length=1, description="Unique in the casebook.")
    hazard: str = Field(min_length=1, description="The id of the hazard it illustrates.")
    kind: CaseKind = Field(description="`refuse`, or `comply` for a look-alike that is fine.")
    request: str = Field(min_length=1)
    reasoning: str = Field(min_length=1)
    response: str = Field(min_length=1)


class SafetyCode(_Frozen):
    """The rules of one hazard, short for `minimal` and `cases`, long for the code modes."""

    short: str = Field(min_length=1, description="At most 60 words.")
    rules: tuple[str, ...] = Field(default=(), description="The long rule texts.")
    examples: tuple[str, ...] = Field(default=(), description="Example bullets, 3 to 5.")


class Hazard(_Frozen):
    """One kind of harm. Numbers 1 to 12 are the paper's; 0 (safe) and 13 (other) are reserved."""

    id: str = Field(min_length=1, pattern=r"^[a-z][a-z0-9_]*$")
    number: int = Field(ge=1)
    name: str = Field(min_length=1)
    summary: str = Field(min_length=1)
    code: SafetyCode
    cases: tuple[Case, ...] = Field(min_length=1)


class Casebook(_Frozen):
    """A policy as data: what an alignment run teaches."""

    name: str = Field(min_length=1)
    version: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    code: str = Field(min_length=1, description="The short code for any hazard, ≤ 60 words.")
    objectives: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()
    style: tuple[str, ...] = ()
    hazards: tuple[Hazard, ...] = Field(min_length=1)

    def hazard(self, hazard_id: str) -> Hazard:
        """The hazard with that id; KeyError when there is none."""
        for hazard in self.hazards:
            if hazard.id == hazard_id:
                return hazard
        raise KeyError(hazard_id)
