"""Read a recipe from YAML, with `key=value` overrides, and say plainly what is wrong with it."""

from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cada.config.recipe import Recipe
from cada.errors import CadaError

Kind = TypeVar("Kind", bound=BaseModel)


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML in which a key that is given twice is an error, not the last one's win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, its keys all different."""
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file and apply overrides such as `phases.0.steps=4` or `seed=1`.

    Raises:
        CadaError: no such file, broken YAML, an unknown key or an impossible value.
    """
    return parse_recipe(read_mapping(path, overrides), str(path))


def read_mapping(path: Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """The keys and values of a recipe file, with overrides, as plain data.

    Raises:
        CadaError: no such file, broken YAML, or an override that leads nowhere.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except FileNotFoundError:
        raise CadaError(
            "there is no such recipe", where=str(path), mend="The shipped ones are in recipes/"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CadaError(
            f"the recipe cannot be read ({error})", where=str(path), mend="Save it as UTF-8 text"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise CadaError(
            f"the recipe is not valid YAML: {problem}", where=where, mend="Mend that line"
        ) from error
    if not isinstance(data, dict):
        raise CadaError(
            "a recipe is a mapping of keys to values", where=str(path), mend="See recipes/demo.yaml"
        )
    apply(data, overrides)
    return data


def apply(data: dict[str, Any], overrides: list[str] | None) -> None:
    """Change recipe data in place by overrides.

    Raises:
        CadaError: one leads nowhere.
    """
    for override in overrides or []:
        _override(data, override)


def parse_recipe(data: dict[str, Any], where: str) -> Recipe:
    """Validate recipe data; `where` names it in errors."""
    return validate(Recipe, data, where)


def validate(kind: type[Kind], data: dict[str, Any], where: str) -> Kind:
    """Data as a model of settings; `where` names it in errors.

    Raises:
        CadaError: an unknown key or an impossible value.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise _explain(error, where, kind) from error


def merged(data: dict[str, Any], changes: dict[str, Any], where: str) -> dict[str, Any]:
    """A copy of the data with changes: mappings are merged, all else is replaced.

    A key with dots leads into lists too, as an override does: `phases.0.steps`.

    Raises:
        CadaError: a key leads nowhere.
    """
    found = deepcopy(data)
    for key, value in changes.items():
        if "." in key:
            _put(found, key, deepcopy(value), where)
        elif isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = merged(found[key], value, where)
        else:
            found[key] = deepcopy(value)
    return found


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML with every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _override(data: dict[str, Any], text: str) -> None:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise CadaError(
            "an override is written key=value", where=text, mend="For example: phases.0.steps=4"
        )
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise CadaError(
            "the value is not valid YAML", where=text, mend="Quote it, such as key='a: b'"
        ) from error
    _put(data, key, parsed, text)


def _put(data: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set what a dotted key leads to; `where` names it in errors."""
    here: Any = data
    parts = key.split(".")
    for part in parts[:-1]:
        here = _step_into(here, part, where)
    last = parts[-1]
    here[_index(here, last, where) if isinstance(here, list) else last] = value


def _step_into(here: Any, part: str, text: str) -> Any:
    if isinstance(here, list):
        return here[_index(here, part, text)]
    if not isinstance(here.get(part), dict | list):
        here[part] = {}
    return here[part]


def _index(items: list[Any], part: str, text: str) -> int:
    if part.isdigit() and int(part) < len(items):
        return int(part)
    for index, item in enumerate(items):
        if isinstance(item, dict) and item.get("name") == part:
            return index
    raise CadaError(
        f"there is no item {part!r} in this list of {len(items)}",
        where=text,
        mend="Use an index from 0, or a phase's name",
    )


def _explain(error: ValidationError, where: str, kind: type[BaseModel]) -> CadaError:
    first = error.errors()[0]
    field = ".".join(str(p) for p in first["loc"]) or "recipe"
    if first["type"] == "extra_forbidden":
        names = _fields_at(first["loc"][:-1], kind)
        near = get_close_matches(str(first["loc"][-1]), names, n=1)
        mend = f"Did you mean {near[0]!r}" if near else f"Known keys: {', '.join(names)}"
        return CadaError(f"unknown key {field!r}", where=where, mend=mend)
    message = first["msg"].removeprefix("Value error, ")
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return CadaError(f"{field}: {message}{more}", where=where, mend=f"Change {field} in the recipe")


def _fields_at(loc: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """The known keys of the section at `loc`."""
    for part in loc:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        found = _model_in(field.annotation) if field else None
        if found is None:
            return []
        model = found
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found:
            return found
    return None
