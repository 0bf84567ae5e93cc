"""Turn the schema's complaints about a casebook into one whole sentence."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cada.casebook.schema import Case, Casebook, Hazard, SafetyCode
from cada.casebook.source import Place, Source
from cada.errors import CadaError


def explain(error: ValidationError, source: Source) -> CadaError:
    """The first problem as a `CadaError` with file, line, field and remedy.

    Unknown fields come first: a misspelt field is also a missing one, and only the first of the
    two says what to mend.
    """
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    place: Place = problem["loc"]
    what, mend = _sentence(problem, place, source.data)
    return CadaError(what, where=source.where(place), mend=mend)


def _sentence(problem: ErrorDetails, place: Place, data: Any) -> tuple[str, str]:
    """What is wrong, and how to mend it."""
    name = _field_name(place)
    thing = _thing(place[:-1], data)
    kind = problem["type"]
    if kind == "extra_forbidden":
        return _unknown_field(str(place[-1]), place, thing)
    if (kind == "missing" or not problem["input"]) and name in {"cases", "hazards"}:
        return f"{thing} has no {name}", f"Add at least one under `{name}`"
    if kind == "missing":
        return f"{thing} lacks the field '{name}'", f"Add `{name}: ...`"
    if kind == "string_too_short":
        return f"the field '{name}' of {thing} is empty", "Write its text"
    given = f" '{problem['input']}'" if isinstance(problem["input"], str) else ""
    return f"the field '{name}' of {thing} has a wrong value{given}", _MENDS.get(
        kind, problem["msg"]
    )


_MENDS: Mapping[str, str] = {
    "enum": "Use `refuse` for a case to decline or `comply` for a look-alike that is fine",
    "string_pattern_mismatch": "Use small letters, digits and underscores, a letter first",
    "string_type": "Give a text; quote it when it contains a colon",
    "int_parsing": "Give a whole number from 1 on",
    "greater_than_equal": "Give a whole number from 1 on",
    "tuple_type": "Give a list, each entry on a line that begins with a dash",
    "model_type": "Give a mapping of fields to values",
}


def _unknown_field(name: str, place: Place, thing: str) -> tuple[str, str]:
    fields = list(_model_at(place[:-1]).model_fields)
    near = get_close_matches(name, fields, n=1)
    mend = f"Perhaps `{near[0]}` is meant" if near else f"Known fields: {', '.join(fields)}"
    return f"{thing} has the unknown field '{name}'", mend


def _model_at(place: Place) -> type[BaseModel]:
    if "cases" in place:
        return Case
    if place and place[-1] == "code":
        return SafetyCode
    return Hazard if place else Casebook


def _field_name(place: Place) -> str:
    """`rules, entry 2` for ("code", "rules", 1)."""
    if place and isinstance(place[-1], int):
        return f"{place[-2]}, entry {place[-1] + 1}"
    return str(place[-1]) if place else "casebook"


def _thing(place: Place, data: Any) -> str:
    """What the field belongs to, by its id where it has one."""
    named = "the casebook"
    for index, part in enumerate(place):
        data = _step(data, part)
        if isinstance(part, int) and place[index - 1] in {"hazards", "cases"}:
            noun = "hazard" if place[index - 1] == "hazards" else "case"
            own_id = data.get("id") if isinstance(data, dict) else None
            named = f"the {noun} '{own_id}'" if own_id else f"the {noun} number {part + 1}"
        elif part == "code":
            named = f"the code of {named}"
    return named


def _step(data: Any, part: str | int) -> Any:
    if isinstance(data, dict):
        return data.get(str(part))
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return data[part]
    return None
