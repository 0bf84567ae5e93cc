"""What a model gave to each of the harness's requests, kept so that a killed run goes on."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cada.errors import CadaError
from cada.files import append_json_line, drop_partial_line, read_json_lines


@dataclass(frozen=True)
class Response:
    """To one request: generated `text` and why it ended, or a continuation's log-probability (in
    nats) and whether greedy decoding would have given it."""

    text: str | None = None
    finish_reason: str | None = None
    logprob: float | None = None
    greedy: bool | None = None


class Responses:
    """Responses by their request, in memory and, where there is a file, on the disk."""

    def __init__(self, file: Path | None = None) -> None:
        """Read what the file holds.

        Raises:
            CadaError: a line is no response.
        """
        self.file = file
        self._known: dict[str, Response] = {}
        if file is None:
            return
        drop_partial_line(file)
        for piece in read_json_lines(file):
            try:
                for row in piece:
                    key = row.pop("request")
                    self._known[key] = Response(**row)
            except (AttributeError, KeyError, TypeError) as error:
                raise CadaError(
                    "the file cannot be used: a line holds no responses as this version writes it",
                    where=str(file),
                    mend="Measure again, elsewhere",
                ) from error

    def get(self, arguments: Any) -> Response | None:
        """The response to a request with these arguments, if there is one."""
        return self._known.get(_key(arguments))

    def add(self, piece: Iterable[tuple[Any, Response]]) -> None:
        """Keep responses with the arguments of their requests; on the disk they are one line."""
        keyed = {_key(arguments): response for arguments, response in piece}
        self._known.update(keyed)
        if self.file is not None:
            rows = [{"request": key, **asdict(response)} for key, response in keyed.items()]
            append_json_line(self.file, rows)


def _key(arguments: Any) -> str:
    return hashlib.sha256(json.dumps(arguments).encode()).hexdigest()
