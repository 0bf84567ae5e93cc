"""YAML that remembers its lines, so that an error can say where it is."""

from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from cada.errors import CadaError

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """Plain data read from YAML, with the file and line of every part of it.

    `data` holds mappings, lists and strings only: every scalar is kept as it was written, so that
    `version: 1.0` and `id: no` stay text; the schema turns numbers into numbers.
    """

    data: Any
    file: str
    marks: dict[Place, tuple[str, int]] = field(default_factory=dict)

    def where(self, place: Place) -> str:
        """`FILE, line N` of the part at `place`, or of the nearest part around it."""
        for length in range(len(place), -1, -1):
            if place[:length] in self.marks:
                file, line = self.marks[place[:length]]
                return f"{file}, line {line}"
        return self.file


def read_source(file: Path | Traversable) -> Source:
    """Read one YAML file.

    Raises:
        CadaError: missing or unreadable file, not UTF-8, broken YAML, a key given twice, an alias,
            or something else than a mapping at the top.
    """
    text = _read_text(file)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join((error.problem or "it cannot be parsed").split())
        raise CadaError(
            f"this is not valid YAML: {problem}",
            where=f"{file}{at}",
            mend="Check the indentation, and quote texts that contain a colon or a quotation mark",
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise CadaError(
            f"the character U+{int(error.character):04X} is not allowed in YAML",
            where=f"{file}, line {line}",
            mend="Delete it",
        ) from error
    if not isinstance(node, yaml.MappingNode):
        raise CadaError(
            "this is not a mapping of fields to values",
            where=str(file),
            mend="Start from `cada casebook new`",
        )
    source = Source(None, str(file))
    data = _plain(node, (), source, set())
    return Source(data, source.file, source.marks)


def _read_text(file: Path | Traversable) -> str:
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        raise CadaError(
            "there is no such file",
            where=str(file),
            mend="Give a folder with a casebook.yaml, a YAML file, or `default`",
        ) from None
    except OSError as error:
        raise CadaError(
            f"the file cannot be read ({error.strerror})",
            where=str(file),
            mend="Check its permissions",
        ) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise CadaError(
            f"the file is not UTF-8 text (byte 0x{raw[error.start]:02x})",
            where=f"{file}, line {line}",
            mend="Save it with the encoding UTF-8",
        ) from error


def _plain(node: yaml.Node, place: Place, source: Source, seen: set[int]) -> Any:
    """The node as plain data; notes the line of each part in `source.marks`."""
    if id(node) in seen:
        # Aliases of aliases can make a small file expand without end.
        raise CadaError(
            "YAML aliases (`*name`) are not supported",
            where=source.where(place),
            mend="Write the text out, or quote a text that begins with `*`",
        )
    seen.add(id(node))
    source.marks.setdefault(place, (source.file, node.start_mark.line + 1))
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, source, seen)
    if isinstance(node, yaml.SequenceNode):
        return [
            _plain(child, (*place, index), source, seen) for index, child in enumerate(node.value)
        ]
    return node.value


def _mapping(
    node: yaml.MappingNode, place: Place, source: Source, seen: set[int]
) -> dict[str, Any]:
    data: dict[str, Any] = {}
    first_lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise CadaError(
                "a field name must be plain text",
                where=f"{source.file}, line {line}",
                mend="Quote texts that start with [ or {",
            )
        key = str(key_node.value)
        if key in data:
            raise CadaError(
                f"the field '{key}' is given twice, first in line {first_lines[key]}",
                where=f"{source.file}, line {line}",
                mend="Keep one of the two",
            )
        first_lines[key] = line
        source.marks[(*place, key)] = (source.file, line)
        data[key] = _plain(value_node, (*place, key), source, seen)
    return data
