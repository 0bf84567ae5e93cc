"""Tables of rows from csv, json, jsonl and parquet files and from the Hugging Face hub."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cada.errors import CadaError

Rows = list[tuple[int, dict[str, Any]]]
SUFFIXES = (".csv", ".jsonl", ".json", ".parquet")


@dataclass(frozen=True)
class Table:
    """Columns, and rows on demand. A row comes with its number in `unit`s of the file, from 1.

    `name` is what the user called it, for messages; `unit` is `line` for text files (what an
    editor shows, the header counts) and `row` for others.
    """

    name: str
    columns: tuple[str, ...]
    unit: str
    fetch: Callable[[Sequence[str]], Rows]

    def at(self, number: int) -> str:
        """Where a row is, in words."""
        return f"{self.name}, {self.unit} {number}"


def read_file(path: Path) -> Table:
    """Open a csv, jsonl, json or parquet file, by its suffix.

    Raises:
        CadaError: it is missing, has another suffix, is not UTF-8, or is malformed.
    """
    readers = {
        ".csv": _read_csv,
        ".jsonl": _read_jsonl,
        ".json": _read_json,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise CadaError(
            f"unknown suffix '{path.suffix}'",
            where=str(path),
            mend=f"Give a file that ends in {', '.join(SUFFIXES)}",
        )
    if not path.is_file():
        raise _missing(path)
    try:
        return reader(path)
    except OSError as error:
        raise CadaError(
            f"cannot be read ({error.strerror or error})",
            where=str(path),
            mend="Check the file and its permissions",
        ) from error


def read_hub(hub: str, subset: str | None, split: str) -> Table:
    """Open one split of a hub data set (or of a local folder that `datasets` can load).

    Code that comes with a data set is never run.

    Raises:
        CadaError: there is no such data set, subset or split, or no access to it.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        dataset = load_dataset(hub, name=subset, split=split)
    except (OSError, ValueError, DatasetsError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CadaError(
            f"cannot be loaded ({reason.rstrip('.')})",
            where=f"{hub}, split {split}",
            mend="Check the id, subset, split and network; a gated set needs `hf auth login`",
        ) from error

    def fetch(columns: Sequence[str]) -> Rows:
        return list(enumerate(dataset.select_columns(list(columns)).to_list(), start=1))

    return Table(f"{hub}, split {split}", tuple(dataset.column_names), "row", fetch)


def _missing(path: Path) -> CadaError:
    if path.is_dir():
        return CadaError("is a folder, not a file", where=str(path), mend="Name a file in it")
    others = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
    near = get_close_matches(path.name, others, n=1)
    hint = f"Try '{path.parent / near[0]}'" if near else "Check the path"
    return CadaError("no such file", where=str(path), mend=hint)


def _decode(path: Path) -> str:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        guess = "UTF-16" if b"\0" in data else "LATIN1"
        raise _not_utf8(path, line, guess) from error
    if "\0" in text:
        raise _not_utf8(path, text[: text.index("\0")].count("\n") + 1, "UTF-16")
    return text


def _not_utf8(path: Path, line: int, guess: str) -> CadaError:
    return CadaError(
        "wrong encoding: the text is not UTF-8",
        where=f"{path}, line {line}",
        mend=f"Save it as UTF-8, for example with `iconv -f {guess} -t UTF-8`",
    )


def _read_csv(path: Path) -> Table:
    # strict: an unclosed quote would otherwise swallow the rest of the file in silence
    reader = csv.reader(io.StringIO(_decode(path), newline=""), strict=True)
    rows: Rows = []
    header: list[str] = []
    start = 1
    try:
        for cells in reader:
            if not header:
                header = _header(path, cells)
            elif cells:
                rows.append((start, _csv_row(path, start, header, cells)))
            start = reader.line_num + 1
    except csv.Error as error:
        raise CadaError(
            f"is not well-formed csv ({error})",
            where=f"{path}, line {start}",
            mend="Close every quote and double the quotes inside a quoted cell",
        ) from error
    return _in_memory(path, header, rows)


def _header(path: Path, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise CadaError(
            f"column '{twice[0]}' is there twice",
            where=f"{path}, line 1",
            mend="Give each column its own name",
        )
    return header


def _csv_row(path: Path, line: int, header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        raise CadaError(
            f"{len(cells)} cells where the header has {len(header)}",
            where=f"{path}, line {line}",
            mend="Put cells that hold commas in double quotes",
        )
    return dict(zip(header, cells, strict=True))


def _read_jsonl(path: Path) -> Table:
    rows: Rows = []
    columns: dict[str, None] = {}
    for number, line in enumerate(_decode(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise CadaError(
                f"is not JSON ({error.msg}, column {error.colno})",
                where=f"{path}, line {number}",
                mend="Write one JSON object a line",
            ) from error
        if not isinstance(row, dict):
            raise CadaError(
                f"a JSON object was expected, not {type(row).__name__}",
                where=f"{path}, line {number}",
                mend='Write one object a line, like {"text": "…"}',
            )
        columns.update(dict.fromkeys(row))
        rows.append((number, row))
    return _in_memory(path, list(columns), rows)


def _read_json(path: Path) -> Table:
    try:
        rows = json.loads(_decode(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise CadaError(
            f"is not JSON ({error})", where=str(path), mend="Write a list of objects, or jsonl"
        ) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CadaError(
            "a JSON list of objects was expected",
            where=str(path),
            mend='Write it like [{"text": "…"}], or one object a line in a .jsonl',
        )
    columns = dict.fromkeys(name for row in rows for name in row)
    return _in_memory(path, list(columns), list(enumerate(rows, start=1)), "row")


def _in_memory(path: Path, columns: list[str], rows: Rows, unit: str = "line") -> Table:
    def fetch(wanted: Sequence[str]) -> Rows:
        return [(number, {name: row.get(name) for name in wanted}) for number, row in rows]

    return Table(str(path), tuple(columns), unit, fetch)


def _read_parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        columns = tuple(file.schema_arrow.names)
    except pyarrow.ArrowInvalid as error:
        raise CadaError(
            "is not a parquet file", where=str(path), mend="Write it anew, or give csv or jsonl"
        ) from error

    def fetch(wanted: Sequence[str]) -> Rows:
        return list(enumerate(file.read(columns=list(wanted)).to_pylist(), start=1))

    return Table(str(path), columns, "row", fetch)
