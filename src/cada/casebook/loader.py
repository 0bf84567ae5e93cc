"""Load a casebook from the package, a folder or one YAML file, and check it as a whole."""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cada.casebook.explain import explain
from cada.casebook.schema import Casebook
from cada.casebook.source import Place, Source, read_source
from cada.errors import CadaError

DEFAULT = "default"
MAX_SHORT_WORDS = 60
OTHER = 13
_TOP_FILE = "casebook.yaml"


def load_casebook(source: str | Path) -> Casebook:
    """Load and check a casebook; its hazards come in number order.

    Args:
        source: `default` for the shipped casebook; a folder with a `casebook.yaml` and one YAML
            file a hazard; or one YAML file with everything, hazards under `hazards`.

    Raises:
        CadaError: the first thing that is wrong, with its file, line and field.
    """
    return _shipped() if source == DEFAULT else _checked(_read_path(Path(source)))


@cache
def _shipped() -> Casebook:
    """The shipped casebook: nothing in it can be changed, so that one will do."""
    return _checked(_read_folder(files("cada.casebook") / DEFAULT))


def _checked(read: Source) -> Casebook:
    _fill_case_hazards(read)
    try:
        casebook = Casebook.model_validate(read.data)
    except ValidationError as error:
        raise explain(error, read) from None
    _check_unique(casebook, read)
    _check_case_hazards(casebook, read)
    _check_lengths(casebook, read)
    return casebook.model_copy(
        update={"hazards": tuple(sorted(casebook.hazards, key=lambda hazard: hazard.number))}
    )


def _read_path(path: Path) -> Source:
    return _read_folder(path) if path.is_dir() else read_source(path)


def _read_folder(folder: Path | Traversable) -> Source:
    """One source out of `casebook.yaml` and the hazard files beside it, in file name order."""
    top = read_source(folder / _TOP_FILE)
    if "hazards" in top.data:
        raise CadaError(
            "in a folder each hazard is a file of its own, beside this one",
            where=top.where(("hazards",)),
            mend="Move the hazards to files of their own, or load this file alone",
        )
    hazard_files = sorted(
        (file for file in folder.iterdir() if _is_hazard_file(file.name)),
        key=lambda file: file.name,
    )
    if not hazard_files:
        raise CadaError(
            "the casebook has no hazard",
            where=str(folder),
            mend="Add one YAML file a hazard beside casebook.yaml",
        )
    top.data["hazards"] = []
    for index, file in enumerate(hazard_files):
        hazard = read_source(file)
        top.data["hazards"].append(hazard.data)
        for place, mark in hazard.marks.items():
            top.marks[("hazards", index, *place)] = mark
    return top


def _is_hazard_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) and name != _TOP_FILE and not name.startswith(".")


def _fill_case_hazards(read: Source) -> None:
    """Give each case the hazard that it stands under, unless it names one."""
    for hazard in _mappings(read.data.get("hazards")):
        for case in _mappings(hazard.get("cases")):
            case.setdefault("hazard", hazard.get("id", ""))


def _mappings(value: Any) -> list[dict[str, Any]]:
    """The mappings in a list; what is malformed is left for the schema to report."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _check_unique(casebook: Casebook, read: Source) -> None:
    hazard_ids: dict[str, str] = {}
    numbers: dict[str, str] = {}
    case_ids: dict[str, str] = {}
    for index, hazard in enumerate(casebook.hazards):
        place: Place = ("hazards", index)
        _claim("hazard id", hazard.id, hazard_ids, read.where((*place, "id")))
        _claim("hazard number", str(hazard.number), numbers, read.where((*place, "number")))
        for case_index, case in enumerate(hazard.cases):
            where = read.where((*place, "cases", case_index, "id"))
            _claim("case id", case.id, case_ids, where)


def _claim(kind: str, value: str, taken: dict[str, str], where: str) -> None:
    if value in taken:
        raise CadaError(
            f"the {kind} '{value}' is used twice, first in {taken[value]}",
            where=where,
            mend="Give one of the two another",
        )
    taken[value] = where


def _check_case_hazards(casebook: Casebook, read: Source) -> None:
    known = [hazard.id for hazard in casebook.hazards]
    for index, hazard in enumerate(casebook.hazards):
        for case_index, case in enumerate(hazard.cases):
            where = read.where(("hazards", index, "cases", case_index, "hazard"))
            if case.hazard not in known:
                raise CadaError(
                    f"the case '{case.id}' names the unknown hazard '{case.hazard}'",
                    where=where,
                    mend=f"Leave `hazard` out or use one of: {', '.join(known)}",
                )
            if case.hazard != hazard.id:
                raise CadaError(
                    f"the case '{case.id}' names the hazard '{case.hazard}' but stands under "
                    f"'{hazard.id}'",
                    where=where,
                    mend="Move the case, or leave `hazard` out",
                )


def _check_lengths(casebook: Casebook, read: Source) -> None:
    shorts: list[tuple[Place, str]] = [(("code",), casebook.code)]
    for index, hazard in enumerate(casebook.hazards):
        shorts.append((("hazards", index, "code", "short"), hazard.code.short))
        if hazard.number == OTHER:
            raise CadaError(
                f"the hazard number {OTHER} is reserved for 'other'",
                where=read.where(("hazards", index, "number")),
                mend="Number hazards of your own from 14 on",
            )
    for place, text in shorts:
        words = count_words(text)
        if words > MAX_SHORT_WORDS:
            raise CadaError(
                f"the short code has {words} words; at most {MAX_SHORT_WORDS} fit into a prompt",
                where=f"{read.where(place)}, field '{place[-1]}'",
                mend="Shorten it and move the details to `rules`",
            )


def count_words(text: str) -> int:
    """How many words, split at white space."""
    return len(text.split())
