"""Where requests come from, as data."""

from typing import Literal

from pydantic import Field, model_validator

from cada.config.section import Section


class Columns(Section):
    """Which column holds what; null looks for the usual names."""

    text: str | None = Field(
        default=None, description="The request; else prompt, text, goal, request, question."
    )
    id: str | None = Field(default=None, description="A unique id; else the row number.")
    hazard: str | None = Field(
        default=None, description="The hazard's id, name or number (0 safe, 1-12, 13 other)."
    )
    harmful: str | None = Field(default=None, description="Whether the request is harmful.")
    category: str | None = Field(
        default=None,
        description="What the source itself files harm under, or what looks like it; for tables.",
    )
    system: str | None = Field(default=None, description="A system prompt of the request's own.")


class RequestSource(Section):
    """One source of requests: exactly one of `embedded`, `benchmark`, `path` and `hub`."""

    embedded: bool = Field(default=False, description="The set that ships with cada.")
    benchmark: str | None = Field(
        default=None, description="A published benchmark: advbench, strongreject, xstest-safe, …"
    )
    data: str | None = Field(
        default=None,
        description="Of a benchmark: the folder that it lies in; null fetches the published file.",
    )
    path: str | None = Field(default=None, description="A .csv, .jsonl, .json or .parquet file.")
    hub: str | None = Field(default=None, description="A data set on the hub, or its folder.")
    name: str | None = Field(default=None, description="Shown in tables; else the file's name.")
    subset: str | None = Field(default=None, description="The hub data set's configuration.")
    split: str = Field(default="train", description="Split of an embedded or hub source.")
    practice: bool = Field(
        default=True, description="Embedded: with the larger practice set (never in test)."
    )
    kinds: list[Literal["harmful", "lookalike", "ordinary"]] | None = Field(
        default=None, description="Keep only these kinds; null keeps all."
    )
    hazards: list[str] | None = Field(
        default=None, description="Keep only requests of these hazards (ids); null keeps all."
    )
    without_hazards: list[str] | None = Field(
        default=None,
        description="Leave out requests of these hazards (ids): those held out of training.",
    )
    columns: Columns = Field(default_factory=Columns, description="Column mapping.")
    harmful: bool | None = Field(default=None, description="One label for every row.")
    hazard: str | None = Field(default=None, description="One hazard for every row.")
    limit: int | None = Field(default=None, ge=1, description="So many rows, drawn by `seed`.")
    seed: int = Field(default=0, ge=0, description="Seed of the draw for `limit`.")

    @model_validator(mode="after")
    def _exactly_one(self) -> "RequestSource":
        named = (self.benchmark, self.path, self.hub)
        if self.embedded + sum(name is not None for name in named) != 1:
            raise ValueError(
                "a request source names exactly one of embedded, benchmark, path and hub"
            )
        return self
