"""Attack prompts that the user has already, as a table of requests and what is sent for them."""

from collections.abc import Sequence
from pathlib import Path

from cada.attacks.made import Made
from cada.errors import CadaError
from cada.requests.tables import read_file
from cada.requests.types import Request

_REQUEST, _TEXT = "request", "text"


def read_texts(path: Path, requests: Sequence[Request]) -> list[Made]:
    """What the table's column `text` holds for each request, found by its column `request`.

    Raises:
        CadaError: the table cannot be read, lacks a column or a request, or holds no text.
    """
    table = read_file(path)
    for column in (_REQUEST, _TEXT):
        if column not in table.columns:
            raise CadaError(
                f"there is no column '{column}'",
                where=str(path),
                mend=f"Name the columns '{_REQUEST}' and '{_TEXT}'; "
                f"there are {', '.join(table.columns)}",
            )
    texts: dict[str, str] = {}
    for number, row in table.fetch([_REQUEST, _TEXT]):
        request, text = row[_REQUEST], row[_TEXT]
        if not isinstance(request, str) or not isinstance(text, str) or not text.strip():
            raise CadaError(
                f"a {_REQUEST} or a {_TEXT} is missing",
                where=table.at(number),
                mend="Fill the row or take it out",
            )
        if texts.setdefault(request.strip(), text) != text:
            raise CadaError(
                "the request has another text further up",
                where=table.at(number),
                mend="Keep one of them",
            )
    if lacking := [request for request in requests if request.text not in texts]:
        more = f" and {len(lacking) - 1} others" if len(lacking) > 1 else ""
        raise CadaError(
            f"there is no text for request {lacking[0].id!r}{more}",
            where=str(path),
            mend=f"Add rows whose '{_REQUEST}' is the request as it stands in its source",
        )
    return [Made(texts[request.text]) for request in requests]
