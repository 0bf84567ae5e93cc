"""The request set that comes with the package, and its fixed split.

The split is a function of a line's position among the lines of its set (`core` or `practice`) in
its file, counted from 1, so lines appended later never move an earlier one:

- core pairs, in cycles of 16: 1-9 train, 10-11 validation, 12-16 test;
  child_exploitation in cycles of 8: 1-4 train, 5 validation, 6-8 test;
- practice pairs: every 8th validation, the rest train, never test;
- core ordinary requests, in cycles of 60: 1-30 train, 31-40 validation, 41-60 test;
- practice ordinary requests: every 12th validation, the rest train, never test.

A harmful request and its look-alike are one line, so they share a split.
"""

import json
from functools import cache
from importlib import resources
from typing import Any, Literal

from cada.requests.hazards import PAPER_HAZARDS
from cada.requests.types import Request

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SOURCE = "embedded"


def load_embedded(split: Split, practice: bool = True) -> list[Request]:
    """The embedded requests of one split: per hazard in number order, then the ordinary ones.

    Ids are `<line id>/harmful` and `<line id>/lookalike` for pairs, the line's own id for ordinary
    requests. `practice=False` leaves out the practice set, the larger and plainer part that only
    training and validation use.
    """
    requests: list[Request] = []
    for hazard in PAPER_HAZARDS:
        for line in _lines(hazard.id, split, practice):
            requests += _pair(line, hazard.id)
    for line in _lines("ordinary", split, practice):
        requests.append(Request(line["id"], line["text"], False, None, SOURCE))
    return requests


def pair_split(position: int, hazard: str, practice: bool) -> Split:
    """The split of a hazard's pair at that position (from 1) of its set."""
    if practice:
        return "validation" if position % 8 == 0 else "train"
    cycle, train, validation = (8, 4, 5) if hazard == "child_exploitation" else (16, 9, 11)
    return _by_bounds(position, cycle, train, validation)


def ordinary_split(position: int, practice: bool) -> Split:
    """The split of the ordinary request at that position (from 1) of its set."""
    if practice:
        return "validation" if position % 12 == 0 else "train"
    return _by_bounds(position, 60, 30, 40)


def _by_bounds(position: int, cycle: int, train: int, validation: int) -> Split:
    number = (position - 1) % cycle + 1
    if number <= train:
        return "train"
    return "validation" if number <= validation else "test"


def _pair(line: dict[str, Any], hazard: str) -> list[Request]:
    pair = []
    if line["harmful"] is not None:
        pair.append(Request(f"{line['id']}/harmful", line["harmful"], True, hazard, SOURCE))
    pair.append(Request(f"{line['id']}/lookalike", line["lookalike"], False, hazard, SOURCE))
    return pair


def _lines(name: str, split: Split, practice: bool) -> list[dict[str, Any]]:
    """The lines of one file that belong to the split."""
    positions = {"core": 0, "practice": 0}
    chosen = []
    for line in _read(name):
        positions[line["set"]] += 1
        position, is_practice = positions[line["set"]], line["set"] == "practice"
        if name == "ordinary":
            its_split = ordinary_split(position, is_practice)
        else:
            its_split = pair_split(position, name, is_practice)
        if its_split == split and (practice or not is_practice):
            chosen.append(line)
    return chosen


@cache
def _read(name: str) -> tuple[dict[str, Any], ...]:
    file = resources.files("cada.requests") / "embedded" / f"{name}.jsonl"
    return tuple(json.loads(line) for line in file.open(encoding="utf-8") if line.strip())
