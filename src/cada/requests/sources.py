"""Requests from a file, the Hugging Face hub or the embedded set.

Whether a row is harmful is decided by, in this order: the harmful column; a hazard label of 0
(safe), which means harmless; the source's constant `harmful`; a hazard label of 1 to 13, which
means harmful. A row that none of these settles is an error. A row labelled 13 (other) is harmful
and has no hazard. An empty hazard cell takes the source's constant `hazard`, or none.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import Any

from cada.casebook.schema import Casebook
from cada.config.sources import RequestSource
from cada.errors import CadaError
from cada.requests.embedded import SOURCE, SPLITS, Split, load_embedded
from cada.requests.hazards import OTHER, SAFE, HazardLabels
from cada.requests.tables import Rows, Table, read_file, read_hub
from cada.requests.types import Request, Turn

TEXT_COLUMNS = ("prompt", "text", "goal", "request", "question", "forbidden_prompt")
"""Where the request's text is looked for, in this order, in any case."""

_YES = {"true", "1", "1.0", "yes", "harmful", "unsafe"}
_NO = {"false", "0", "0.0", "no", "harmless", "safe", "benign"}


def load_requests(
    source: RequestSource,
    casebook: Casebook | None = None,
    where: Mapping[str, bool | int | str] | None = None,
) -> list[Request]:
    """The requests of a source, in its order; those that `limit` drops are drawn by `seed`.

    Columns named `hazard`, `harmful`, `id`, `system` and `history` are used without being mapped;
    `history` is a list of `{role, content}`. `casebook` says which hazards there are; without one,
    the paper's twelve. `where` keeps only the rows whose columns have these values.

    Raises:
        CadaError: the file is missing, unreadable or empty, a column is missing, or a row has no
            text, an unknown hazard, no label or an id that another has.
    """
    _check_strays(source, where)
    if source.embedded:
        requests = _embedded(source)
    elif source.benchmark is not None:
        from cada.requests.benchmarks import load_benchmark  # which reads its file as a source

        requests = load_benchmark(source.benchmark, Path(source.data) if source.data else None)
    else:
        table = _open(source)
        columns = _resolve(table, source)
        rows = _rows(table, list(columns.values()), where or {})
        requests = _Reader(table, source, columns, HazardLabels(casebook)).read(rows)
    return _limited(_of_hazards(_of_kinds(requests, source), source), source)


def load_texts(source: RequestSource) -> list[str]:
    """Only the texts of a source, whatever its labels; errors as `load_requests`."""
    if source.embedded or source.benchmark is not None:
        return [request.text for request in load_requests(source)]
    table = _open(source)
    column = _resolve(table, source)["text"]
    rows = _rows(table, [column], {})
    _check_texts(table, column, rows)
    return [row[column].strip() for _, row in rows]


def load_sets(
    sources: Sequence[RequestSource],
    casebook: Casebook | None = None,
    where: Mapping[str, bool | int | str] | None = None,
) -> dict[str, list[Request]]:
    """Each source's requests under its name; `where` filters files and hub data sets.

    Raises:
        CadaError: two sources share a name, or one cannot be loaded.
    """
    sets: dict[str, list[Request]] = {}
    for source in sources:
        name = source_name(source)
        if name in sets:
            raise CadaError(
                f"two request sources are called {name!r}",
                where="the sources to evaluate",
                mend="Rename a file, or give each source a name in the recipe",
            )
        own = source.path is not None or source.hub is not None
        sets[name] = load_requests(source, casebook, where if own else None)
    return sets


def source_name(source: RequestSource) -> str:
    """What the requests' `source` says: the given name, the benchmark, the file's stem or the
    hub id."""
    if source.embedded:
        return source.name or SOURCE
    return (
        source.name
        or source.benchmark
        or (Path(source.path).stem if source.path else source.hub or "")
    )


def _check_strays(source: RequestSource, where: Mapping[str, bool | int | str] | None) -> None:
    """A field that its kind of source cannot heed is a mistake, not to be passed over."""
    kind, strays = "a file", ["subset", "split", "practice", "data"]
    if source.embedded:
        kind, strays = "the embedded set", ["columns", "harmful", "hazard", "subset", "data"]
    elif source.benchmark is not None:
        kind = "a benchmark"
        strays = ["columns", "harmful", "hazard", "subset", "split", "practice"]
    elif source.hub is not None:
        kind, strays = "a hub data set", ["practice", "data"]
    plain = RequestSource(path="-")
    wrong = [name for name in strays if getattr(source, name) != getattr(plain, name)]
    if (source.embedded or source.benchmark) and where:
        wrong.append("where")
    if wrong:
        raise CadaError(f"means nothing for {kind}", where=f"field {wrong[0]}", mend="Leave it out")


def _embedded(source: RequestSource) -> list[Request]:
    splits: dict[str, Split] = {split: split for split in SPLITS}
    if source.split not in splits:
        raise CadaError(
            f"the embedded set has no split '{source.split}'",
            where="field split",
            mend=f"Set it to {', '.join(SPLITS)}",
        )
    return load_embedded(splits[source.split], source.practice)


def _of_kinds(requests: list[Request], source: RequestSource) -> list[Request]:
    if source.kinds is None:
        return requests
    kept = [request for request in requests if request.kind in source.kinds]
    if not kept:
        there = ", ".join(sorted({request.kind for request in requests}))
        raise CadaError(
            f"no request is {' or '.join(source.kinds)}",
            where=source.path or source_name(source),
            mend=f"Set kinds to some of those that are there: {there}",
        )
    return kept


def _of_hazards(requests: list[Request], source: RequestSource) -> list[Request]:
    there = sorted({request.hazard for request in requests if request.hazard is not None})
    where = source.path or source_name(source)
    kept = requests
    for field, named, wanted in (
        ("hazards", source.hazards, True),
        ("without_hazards", source.without_hazards, False),
    ):
        if named is None:
            continue
        for hazard in named:
            if hazard not in there:
                near = get_close_matches(hazard, there, n=1, cutoff=0.5)
                raise CadaError(
                    f"no request is of the hazard {hazard!r}",
                    where=f"{where}, field {field}",
                    mend=(f"Did you mean {near[0]!r}? " if near else "")
                    + f"There are: {', '.join(there) or 'none'}",
                )
        kept = [request for request in kept if (request.hazard in named) == wanted]
    if not kept:
        raise CadaError("no request is left", where=where, mend="Leave out fewer hazards")
    return kept


def _open(source: RequestSource) -> Table:
    if source.path is not None:
        return read_file(Path(source.path).expanduser())
    return read_hub(source.hub or "", source.subset, source.split)


def _resolve(table: Table, source: RequestSource) -> dict[str, str]:
    """Field of the request → column of the table."""
    found: dict[str, str] = {}
    mapping: dict[str, str | None] = {"history": None, **source.columns.model_dump()}
    for field, wanted in mapping.items():
        if wanted is not None:
            found[field] = _column(table, wanted, f"columns.{field}")
        elif field not in ("text", "category") and field in table.columns:
            found[field] = field
    if "text" not in found:
        lower = {name.lower(): name for name in reversed(table.columns)}
        named = [lower[name] for name in TEXT_COLUMNS if name in lower]
        if not named:
            raise _no_column(table, TEXT_COLUMNS, "columns.text")
        found["text"] = named[0]
    return found


def _column(table: Table, wanted: str, field: str) -> str:
    if wanted not in table.columns:
        raise _no_column(table, [wanted], field)
    return wanted


def _no_column(table: Table, wanted: Sequence[str], field: str) -> CadaError:
    if not table.columns:
        return _no_rows(table)
    listed = ", ".join(table.columns)
    near = [m for w in wanted for m in get_close_matches(w, table.columns, n=1, cutoff=0.5)]
    mend = f"Did you mean '{near[0]}'? " if near else ""
    if len(table.columns) == 1 and any(sign in listed for sign in ";\t"):
        mend = "Its cells seem to be parted by ';' or tabs: save it with commas. "
    names = " or ".join(f"'{name}'" for name in wanted)
    return CadaError(
        f"no column {names}",
        where=table.name,
        mend=f"{mend}Set {field} to one of its columns: {listed}",
    )


def _no_rows(table: Table) -> CadaError:
    return CadaError("has no rows", where=table.name, mend="Give a source with requests in it")


def _rows(table: Table, columns: Sequence[str], where: Mapping[str, bool | int | str]) -> Rows:
    """The rows that pass `where`, with the columns asked for."""
    tests = {_column(table, name, "where"): _cell(value) for name, value in where.items()}
    rows = table.fetch(list(dict.fromkeys([*columns, *tests])))
    if not rows:
        raise _no_rows(table)
    for column, value in tests.items():
        kept = [(number, row) for number, row in rows if _cell(row[column]) == value]
        if not kept:
            values = sorted({_cell(row[column]) for _, row in rows})[:8]
            raise CadaError(
                f"no row has {column} = {value}",
                where=table.name,
                mend=f"Ask for a value that is there: {shorten(', '.join(values), 200)}",
            )
        rows = kept
    return rows


def _cell(value: object) -> str:
    return "" if value is None else str(value).strip().casefold()


def _check_texts(table: Table, column: str, rows: Rows) -> None:
    empty = [number for number, row in rows if row[column] is None or not str(row[column]).strip()]
    if empty:
        raise CadaError(
            f"column '{column}' is empty in {_numbered(table.unit, empty)}",
            where=table.name,
            mend="Fill these rows or take them out",
        )
    for number, row in rows:
        if not isinstance(row[column], str):
            raise CadaError(
                f"column '{column}' holds {type(row[column]).__name__}, not text",
                where=table.at(number),
                mend="Name the column that holds the requests in columns.text",
            )
        if any("\ud800" <= char <= "\udfff" for char in row[column]):
            raise CadaError(
                f"column '{column}' holds half a character (a lone surrogate)",
                where=table.at(number),
                mend="Mend the text or take the row out",
            )


def _numbered(unit: str, numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"{unit}{'s' if len(numbers) > 1 else ''} {shown}{more}"


class _Reader:
    """Turns rows into requests; the columns and constants are settled once."""

    def __init__(
        self, table: Table, source: RequestSource, columns: dict[str, str], labels: HazardLabels
    ) -> None:
        self.table = table
        self.source = source
        self.name = source_name(source)
        self.columns = columns
        self.labels = labels

    def read(self, rows: Rows) -> list[Request]:
        _check_texts(self.table, self.columns["text"], rows)
        requests = [self._request(number, row) for number, row in rows]
        self._check_ids(rows, requests)
        return requests

    def _request(self, number: int, row: dict[str, Any]) -> Request:
        given = {field: row[column] for field, column in self.columns.items()}
        label = self._label(number, given.get("hazard"))
        identity = given.get("id")
        return Request(
            id=str(identity) if _cell(identity) else f"{self.name}/{number}",
            text=given["text"].strip(),
            harmful=self._harmful(number, given.get("harmful"), label),
            hazard=None if label in (SAFE, OTHER) else label,
            source=self.name,
            system=str(given["system"]) if _cell(given.get("system")) else None,
            history=self._history(number, given.get("history")),
            category=str(given["category"]) if _cell(given.get("category")) else None,
        )

    def _label(self, number: int, cell: object) -> str | None:
        label = self.labels.resolve(cell, self._at(number, "hazard"))
        if label is None and self.source.hazard is not None:
            return self.labels.resolve(self.source.hazard, f"{self.table.name}, field hazard")
        return label

    def _harmful(self, number: int, cell: object, label: str | None) -> bool:
        word = _cell(cell)
        if word in _YES | _NO:
            return word in _YES
        if word:
            raise CadaError(
                f"'{shorten(str(cell), 60)}' does not say whether the request is harmful",
                where=self._at(number, "harmful"),
                mend="Write true or false",
            )
        if label == SAFE:
            return False
        if self.source.harmful is not None:
            return self.source.harmful
        if label is None:
            raise CadaError(
                "nothing says whether the request is harmful",
                where=self.table.at(number),
                mend="Name a column in columns.harmful or columns.hazard, "
                "or set harmful to true or false for the whole source",
            )
        return True

    def _history(self, number: int, cell: object) -> tuple[Turn, ...]:
        if cell is None or cell in ("", []):
            return ()
        try:
            if not isinstance(cell, list):
                raise TypeError
            return tuple(Turn(str(turn["role"]), str(turn["content"])) for turn in cell)
        except (TypeError, KeyError) as error:
            raise CadaError(
                "earlier turns are not a list of {role, content}",
                where=self._at(number, "history"),
                mend='Write them like [{"role": "user", "content": "…"}]',
            ) from error

    def _check_ids(self, rows: Rows, requests: Iterable[Request]) -> None:
        seen: dict[str, int] = {}
        for (number, _), request in zip(rows, requests, strict=True):
            if request.id in seen:
                first = f"{self.table.unit} {seen[request.id]}"
                raise CadaError(
                    f"id '{shorten(request.id, 60)}' is already that of {first}",
                    where=self._at(number, "id"),
                    mend="Give each row its own id, or name another column in columns.id",
                )
            seen[request.id] = number

    def _at(self, number: int, field: str) -> str:
        return f"{self.table.at(number)}, column {self.columns.get(field, field)}"


def _limited(requests: list[Request], source: RequestSource) -> list[Request]:
    if source.limit is None or source.limit >= len(requests):
        return requests
    chosen = random.Random(source.seed).sample(range(len(requests)), source.limit)
    return [requests[index] for index in sorted(chosen)]
