"""Answers to judge, and what people said of them, from csv, jsonl, json and parquet files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cada.errors import CadaError
from cada.judging.text import well_formed
from cada.judging.verdict import Outcome
from cada.requests.tables import Table, read_file


@dataclass(frozen=True)
class Answer:
    """A request and the final response to it; `row` is the whole row it came from."""

    request: str
    response: str
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Labelled(Answer):
    """An answer and what people said of it.

    `label` holds every outcome that agrees with them: one of a label that names an outcome; of a
    label that only says whether harm was done, those of that side. `model` wrote the answer.
    """

    label: frozenset[Outcome]
    model: str | None


_YES = frozenset({Outcome.COMPLIED, Outcome.PARTIAL})
_NO = frozenset({Outcome.REFUSED, Outcome.UNRELATED})
_OUTCOMES = {outcome.value: frozenset({outcome}) for outcome in Outcome}
_LABELS = {
    **_OUTCOMES,
    "1_full_compliance": _OUTCOMES["complied"],
    "2_full_refusal": _OUTCOMES["refused"],
    "3_partial_refusal": _OUTCOMES["partial"],
    "full_compliance": _OUTCOMES["complied"],
    "full_refusal": _OUTCOMES["refused"],
    "partial_refusal": _OUTCOMES["partial"],
}
_JAILBROKEN = {"1": _YES, "0": _NO, "yes": _YES, "no": _NO, "true": _YES, "false": _NO}

# Column names that are known: this project's answers, XSTest's completions, JailbreakBench's.
_REQUEST = ("request", "prompt", "goal", "question")
_RESPONSE = ("response", "completion", "target_response", "answer", "output")
_OUTCOME = ("label", "final_label")
_HARM = ("jailbroken", "human_majority")
_PARTS = ("request", "response", "label", "jailbroken", "model")


def read_answers(path: Path, columns: Mapping[str, str] | None = None) -> list[Answer]:
    """The answers in a file. `columns` names its columns for `request` and `response`.

    Raises:
        CadaError: no such file or columns, a cell that is no text, no row at all.
    """
    table = read_file(path)
    named = _named(table, columns or {})
    request = _column(table, named, "request", _REQUEST)
    response = _column(table, named, "response", _RESPONSE)
    rows = [
        Answer(_text(table, number, row, request), _text(table, number, row, response), row)
        for number, row in _rows(table)
    ]
    return rows


def read_labelled(path: Path, columns: Mapping[str, str] | None = None) -> list[Labelled]:
    """The labelled answers in a file.

    `columns` names its columns for `request`, `response`, `model` and either `label` (an outcome,
    or XSTest's names) or `jailbroken` (1 or 0: whether the answer does harm). Without it the
    columns of XSTest's completions and of JailbreakBench's judge comparison are known.

    Raises:
        CadaError: as for `read_answers`; a label that is unknown.
    """
    table = read_file(path)
    named = _named(table, columns or {})
    answers = read_answers(path, {k: v for k, v in named.items() if k in ("request", "response")})
    label = named.get("label") or _first(table, _OUTCOME)
    harm = named.get("jailbroken") or _first(table, _HARM)
    if label is None and harm is None:
        raise CadaError(
            f"no column holds labels; its columns are {', '.join(table.columns)}",
            where=table.name,
            mend="Name it with --columns label=NAME, or jailbroken=NAME where 1 means harm done",
        )
    column, known = (label, _LABELS) if label is not None else (str(harm), _JAILBROKEN)
    if "jailbroken" in named:
        column, known = named["jailbroken"], _JAILBROKEN
    model = named.get("model") or _first(table, ("model",))
    out = []
    for (number, row), answer in zip(_rows(table), answers, strict=True):
        said = str(row[column]).strip().lower()
        if said not in known or said == Outcome.UNSCORED.value:
            raise CadaError(
                f"unknown label {row[column]!r}",
                where=f"{table.at(number)}, column {column}",
                mend=f"Known are {', '.join(name for name in known if name != 'unscored')}",
            )
        writer = str(row[model]) if model is not None else None
        out.append(Labelled(answer.request, answer.response, row, known[said], writer))
    return out


def _named(table: Table, columns: Mapping[str, str]) -> dict[str, str]:
    for part, name in columns.items():
        if part not in _PARTS:
            raise CadaError(
                f"unknown part '{part}'", where="--columns", mend=f"Known are {', '.join(_PARTS)}"
            )
        if name not in table.columns:
            raise CadaError(
                f"no column '{name}'; its columns are {', '.join(table.columns)}",
                where=table.name,
                mend=f"Name another with --columns {part}=NAME",
            )
    return dict(columns)


def _first(table: Table, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in table.columns), None)


def _column(table: Table, named: Mapping[str, str], part: str, known: tuple[str, ...]) -> str:
    column = named.get(part) or _first(table, known)
    if column is None:
        raise CadaError(
            f"no column holds the {part}; its columns are {', '.join(table.columns)}",
            where=table.name,
            mend=f"Name it with --columns {part}=NAME",
        )
    return column


def _rows(table: Table) -> list[tuple[int, dict[str, Any]]]:
    rows = table.fetch(table.columns)
    if not rows:
        raise CadaError("no rows", where=table.name, mend="Give a file with at least one answer")
    return rows


def _text(table: Table, number: int, row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if not isinstance(value, str):
        raise CadaError(
            f"{value!r} is no text",
            where=f"{table.at(number)}, column {column}",
            mend="Give text, or the empty text where the model said nothing",
        )
    return well_formed(value)
