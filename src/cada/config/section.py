"""A part of a recipe: unknown keys are mistakes, and values do not change."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """What every part of a recipe is."""

    model_config = ConfigDict(extra="forbid", frozen=True)
