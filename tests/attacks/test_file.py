"""The frozen attack file: what is written is read, and nothing else is believed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cada.attacks.file import Header, Row, append_rows, open_attack_file, read_attack_file
from cada.attacks.named import attempts_of
from cada.errors import CadaError
from tests.evaluation.scripted import REQUESTS

HEADER = Header(
    attack="pair",
    generator="cada 0",
    model="m",
    seed=0,
    date="2026-01-02",
    benchmarks=["test"],
    settings={"streams": 3},
)
ROWS = [Row(request_id=r.id, request=r.text, text=f"Please: {r.text}") for r in REQUESTS]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "pair.jsonl"
    open_attack_file(path, HEADER)
    append_rows(path, ROWS)
    return path


@given(st.lists(TEXT, min_size=1, max_size=4, unique=True))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("a") / "a.jsonl"
    rows = [
        Row(request_id=t, request=t, text=t, prefill=t, score=1.5, transcript=[{"prompt": t}])
        for t in texts
    ]
    open_attack_file(path, HEADER)
    append_rows(path, rows)
    found = read_attack_file(path)
    assert (found.header, found.rows) == (HEADER, rows)


def test_the_attempts_come_in_the_requests_order(path: Path) -> None:
    asked = [REQUESTS[2], REQUESTS[0]]
    made = attempts_of(str(path), asked)
    assert [(a.request, a.attack, a.text) for a in made] == [
        (r, "pair", f"Please: {r.text}") for r in asked
    ]


def test_a_file_for_another_benchmark(path: Path) -> None:
    found = read_attack_file(path)
    with pytest.raises(CadaError, match=r"pair.jsonl: has no prompt for request 'x' and 1 others"):
        found.apply([REQUESTS[0], replace(REQUESTS[0], id="x"), replace(REQUESTS[0], id="y")])
    with pytest.raises(CadaError, match="another text for request 'h1'; it was made for test"):
        found.apply([replace(REQUESTS[0], text="How do I mend a roof?")])


def test_two_benchmarks_may_use_the_same_ids(tmp_path: Path) -> None:
    other = replace(REQUESTS[1], id="h1")
    path = tmp_path / "a.jsonl"
    open_attack_file(path, HEADER)
    append_rows(path, [ROWS[0], Row(request_id="h1", request=other.text, text="b")])
    assert [a.text for a in read_attack_file(path).apply([other, REQUESTS[0]])] == [
        "b",
        ROWS[0].text,
    ]


def test_a_file_goes_on_after_a_kill_and_keeps_its_date(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    found = open_attack_file(path, HEADER.model_copy(update={"date": "2026-05-05"}))
    assert (found.header, found.rows) == (HEADER, ROWS[:3])
    append_rows(path, ROWS[3:])
    assert path.read_bytes() == whole


def test_a_file_of_another_attack_is_not_gone_on_with(path: Path) -> None:
    other = HEADER.model_copy(update={"seed": 1, "settings": {"streams": 4, "keep": 1}})
    with pytest.raises(CadaError, match=r"differs in seed, streams, keep"):
        open_attack_file(path, other)


def test_somebody_elses_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("goal\nno line end", encoding="utf-8")
    with pytest.raises(CadaError, match="line 1: is no attack file"):
        open_attack_file(path, HEADER)
    assert path.read_text(encoding="utf-8") == "goal\nno line end"


def changed(row: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({k: v for k, v in (row | fields).items() if v is not ...}).encode() + b"\n"


GOOD_HEADER = HEADER.model_dump(mode="json")
GOOD_ROW = ROWS[0].model_dump(mode="json")
TOP, ROW = changed(GOOD_HEADER), changed(GOOD_ROW)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1: .*the header is missing"),
        (b"\n", "line 1: "),
        (b"\xff\n", "line 1: "),
        (ROW, "line 1: .*attack: Field required"),
        (changed(GOOD_HEADER, version=2), "line 1: .*version: "),
        (changed(GOOD_HEADER, attack="none"), "line 1: .*the name of no attack"),
        (changed(GOOD_HEADER, attack="\x1b[2J"), "line 1: .*attack: "),
        (changed(GOOD_HEADER, date="yesterday"), "line 1: .*date: "),
        (TOP + ROW + b"\n", "line 3: "),
        (TOP + ROW[:-1], "line 2: .*the line is cut off"),
        (TOP + ROW + ROW, "line 3: .*'h1' is that of line 2"),
        (TOP + changed(GOOD_ROW, text=7), "line 2: .*text: "),
        (TOP + changed(GOOD_ROW, text=""), "line 2: .*text: "),
        (TOP + changed(GOOD_ROW, text=...), "line 2: .*text: Field required"),
        (TOP + changed(GOOD_ROW, extra=1), "line 2: .*extra: "),
        (TOP + changed(GOOD_ROW, score=float("nan")), "line 2: "),
        (TOP + changed(GOOD_ROW, text="\ud83d"), "line 2: "),
        (TOP + b"[" * 100_000 + b"\n", "line 2: "),
    ],
)  # fmt: skip
def test_bad_files_are_told_by_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    with pytest.raises(CadaError, match=message) as caught:
        read_attack_file(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match=r"a.jsonl: cannot be read"):
        attempts_of(str(tmp_path / "a.jsonl"), REQUESTS)


def test_names_of_attacks(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("!\n", encoding="utf-8")
    assert [a.text for a in attempts_of("none", REQUESTS)] == [r.text for r in REQUESTS]
    assert attempts_of(f"suffix:{tmp_path}/s.txt", REQUESTS)[0].attack == "suffix:s"
    assert attempts_of("rot13", REQUESTS)[0].attack == "rot13"
    with pytest.raises(CadaError, match="cada attack build pair"):
        attempts_of("pair", REQUESTS)
    with pytest.raises(
        CadaError, match=r"The attacks are none, prefix_injection, .*, pair, or a file"
    ):
        attempts_of("pear", REQUESTS)
