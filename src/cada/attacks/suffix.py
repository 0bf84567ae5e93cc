"""Suffixes that the user brings, such as GCG finds (Zou et al. 2023, arXiv 2307.15043).

A suffix is a string that was optimised against some model; it is put behind every request, after
one space. Nothing here searches for suffixes.
"""

from collections.abc import Sequence
from pathlib import Path

from cada.attacks.types import Attempt
from cada.errors import CadaError
from cada.requests.types import Request


def read_suffixes(path: Path) -> list[str]:
    """The suffixes of a text file, one a line, in UTF-8; empty lines are left out.

    Spaces at a line's ends are part of its suffix.

    Raises:
        CadaError: the file is missing, is not UTF-8, holds no suffix, or holds one twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CadaError("is not UTF-8", where=str(path), mend="Save it as UTF-8") from error
    except OSError as error:
        raise CadaError(
            f"cannot be read ({error.strerror or error})",
            where=str(path),
            mend="Give a text file with one suffix a line",
        ) from error
    suffixes: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        suffix = line.removesuffix("\r")
        if suffix in suffixes:
            raise CadaError(
                f"the suffix is that of line {suffixes[suffix]}",
                where=f"{path}, line {number}",
                mend="Take one of them out",
            )
        if suffix.strip():
            suffixes[suffix] = number
    if not suffixes:
        raise CadaError("holds no suffix", where=str(path), mend="Write one suffix a line")
    return list(suffixes)


def suffixed(path: Path, requests: Sequence[Request]) -> list[Attempt]:
    """Every request with every suffix of the file, suffix after suffix.

    The attack is called `suffix:STEM` after the file; where the file holds several suffixes, each
    is an attack of its own, `suffix:STEM/1` and so on, so that answers and rates stay apart.

    Raises:
        CadaError: as `read_suffixes`.
    """
    suffixes = read_suffixes(path)
    name = f"suffix:{path.stem}"
    names = [f"{name}/{n}" for n in range(1, len(suffixes) + 1)] if len(suffixes) > 1 else [name]
    return [
        Attempt(request, attack, f"{request.text} {suffix}")
        for attack, suffix in zip(names, suffixes, strict=True)
        for request in requests
    ]
