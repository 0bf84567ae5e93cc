"""The frozen attack file: prompts made once, and shared by every model that is measured.

JSON lines. The first is a header that says who made the file, from what and how; then comes one
line a request. Files come from anywhere: what they hold is checked, and is never an instruction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from cada.attacks.types import NO_ATTACK, Attempt
from cada.errors import CadaError
from cada.files import append_json_line, drop_partial_line
from cada.requests.types import Request

_NAME = r"^[^\x00-\x1f\x7f-\x9f]{1,100}$"


class Header(BaseModel):
    """The first line of an attack file.

    `date` is the day on which it was begun, `benchmarks` are the names of the request sets, and
    `settings` holds whatever else the prompts depend on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["cada-attacks"] = "cada-attacks"
    version: Literal[1] = 1
    attack: str = Field(pattern=_NAME)
    generator: str
    model: str | None
    seed: int
    date: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    benchmarks: list[str]
    settings: dict[str, Any] = Field(default_factory=dict)

    @field_validator("attack")
    @classmethod
    def _is_one(cls, value: str) -> str:
        if value == NO_ATTACK:
            raise ValueError(f"{NO_ATTACK!r} is the name of no attack")
        return value


class Row(BaseModel):
    """The attack on one request.

    `score` is its judge's, from 1 to 10, where the attack has one; `problem` says why the request
    stands unchanged in `text`; `transcript` holds the prompts that were tried.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    request_id: str
    request: str
    text: str = Field(min_length=1)
    prefill: str = ""
    score: float | None = None
    problem: str | None = None
    transcript: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def key(self) -> tuple[str, str]:
        """What tells requests apart: two benchmarks may use the same ids."""
        return self.request_id, self.request


@dataclass(frozen=True)
class AttackFile:
    """A file that was read; `rows` are in the order in which they were made."""

    path: Path
    header: Header
    rows: list[Row]

    def apply(self, requests: Sequence[Request]) -> list[Attempt]:
        """The attack on each request, in their order.

        Raises:
            CadaError: the file lacks a request, or holds another text under its id.
        """
        rows = {row.key: row for row in self.rows}
        ids = {row.request_id for row in self.rows}
        lacking = [request for request in requests if (request.id, request.text) not in rows]
        if lacking:
            first = lacking[0]
            what = "has another text for" if first.id in ids else "has no prompt for"
            more = f" and {len(lacking) - 1} others" if len(lacking) > 1 else ""
            made_for = ", ".join(self.header.benchmarks) or "nothing"
            raise CadaError(
                f"{what} request {first.id!r}{more}; it was made for {made_for}",
                where=str(self.path),
                mend="Build it for this benchmark with `cada attack build`, or, if its making was "
                "stopped, start that again: it goes on",
            )
        return [
            Attempt(request, self.header.attack, row.text, row.prefill)
            for request in requests
            for row in [rows[request.id, request.text]]
        ]


def read_attack_file(path: Path) -> AttackFile:
    """Read and check an attack file.

    Raises:
        CadaError: the file is missing, or a line is not as it should be (which line, and why).
    """
    data = _bytes(path)
    if not data:
        raise _wrong(path, 1, "the header is missing")
    if not data.endswith(b"\n"):
        raise _wrong(path, data.count(b"\n") + 1, "the line is cut off")
    first, *others = data.split(b"\n")[:-1]
    header = _line(Header, first, path, 1)
    rows: dict[tuple[str, str], int] = {}
    read = []
    for number, line in enumerate(others, start=2):
        row = _line(Row, line, path, number)
        if row.key in rows:
            raise _wrong(path, number, f"the request {row.request_id!r} is that of line "
                         f"{rows[row.key]}")  # fmt: skip
        rows[row.key] = number
        read.append(row)
    return AttackFile(path, header, read)


def open_attack_file(path: Path, header: Header) -> AttackFile:
    """What `path` holds already of this attack; a file with the header alone where there is none.

    A last line that a kill cut off is dropped.

    Raises:
        CadaError: the file cannot be read or written, or holds another attack.
    """
    if not path.exists():
        append_json_line(path, header.model_dump(mode="json"))
        return AttackFile(path, header, [])
    first, end, _ = _bytes(path).partition(b"\n")
    _line(Header, first, path, 1)  # before anything of somebody else's file is dropped
    if end:
        drop_partial_line(path)
    found = read_attack_file(path)
    ours, theirs = header.model_dump(mode="json"), found.header.model_dump(mode="json")
    differing = [name for name in ours if name != "date" and ours[name] != theirs[name]]
    if "settings" in differing:
        differing.remove("settings")
        names = {**ours["settings"], **theirs["settings"]}
        differing += [
            name for name in names if ours["settings"].get(name) != theirs["settings"].get(name)
        ]
    if differing:
        raise CadaError(
            f"the file holds another attack (it differs in {', '.join(differing)})",
            where=str(path),
            mend="Choose another --out, or give the options that it was begun with",
        )
    return found


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows behind those that are there."""
    for row in rows:
        append_json_line(path, row.model_dump(mode="json", exclude_defaults=True))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CadaError(
            f"cannot be read ({error.strerror or error})",
            where=str(path),
            mend="Make an attack file with `cada attack build`",
        ) from error


Line = TypeVar("Line", bound=BaseModel)


def _line(kind: type[Line], line: bytes, path: Path, number: int) -> Line:
    try:
        return kind.model_validate_json(line, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        reason = str(first["msg"])
        raise _wrong(path, number, f"{field}: {reason}" if field else reason) from error


def _wrong(path: Path, number: int, reason: str) -> CadaError:
    return CadaError(
        f"is no attack file: {reason}",
        where=f"{path}, line {number}",
        mend="Make it anew with `cada attack build`",
    )
