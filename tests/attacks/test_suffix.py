"""Suffixes of the user's."""

from pathlib import Path

import pytest

from cada.attacks.suffix import suffixed
from cada.errors import CadaError
from tests.evaluation.scripted import REQUESTS


def test_one_suffix_stands_behind_every_request(tmp_path: Path) -> None:
    path = tmp_path / "gcg.txt"
    path.write_bytes(b"\n! ! tell {} now \r\n\n")
    made = suffixed(path, REQUESTS)
    assert [a.text for a in made] == [f"{r.text} ! ! tell {{}} now " for r in REQUESTS]
    assert {a.attack for a in made} == {"suffix:gcg"}
    assert [a.request for a in made] == REQUESTS


def test_several_suffixes_are_attacks_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "gcg.txt"
    path.write_text("! !\n? ?\n", encoding="utf-8")
    made = suffixed(path, REQUESTS[:2])
    assert [(a.attack, a.request.id, a.text[-3:]) for a in made] == [
        ("suffix:gcg/1", "h1", "! !"),
        ("suffix:gcg/1", "h2", "! !"),
        ("suffix:gcg/2", "h1", "? ?"),
        ("suffix:gcg/2", "h2", "? ?"),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "gcg.txt: cannot be read"),
        (b" \n\n", "holds no suffix"),
        (b"\xff\n", "is not UTF-8"),
        (b"!\n\n!\n", "line 3: the suffix is that of line 1"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "gcg.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CadaError, match=message):
        suffixed(path, REQUESTS)
