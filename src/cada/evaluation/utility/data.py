"""The benchmarks' original files in a folder, as rows in the schema of the hub's data sets.

Layout: `gsm8k/{train,test}.jsonl` (openai/grade-school-math), `bbh/bbh/SUBTASK.json`
(suzgunmirac/BIG-Bench-Hard) and `mmlu/{dev,test}/SUBJECT_{dev,test}.csv` (hendrycks/test).
"""

import csv
import json
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any

from cada.errors import CadaError

Rows = dict[str, list[dict[str, Any]]]
_LETTERS = "ABCD"


def read_gsm8k(folder: Path, subtask: str) -> Rows:
    """Splits `train` and `test` with `question` and `answer`.

    Raises:
        CadaError: a file is missing or is not as described.
    """
    return {
        split: _json_lines(folder / "gsm8k" / f"{split}.jsonl", ("question", "answer"))
        for split in ("train", "test")
    }


def read_bbh(folder: Path, subtask: str) -> Rows:
    """Split `test` of one of the 27 subtasks, with `input` and `target`.

    Raises:
        CadaError: as in `read_gsm8k`.
    """
    path = folder / "bbh" / "bbh" / f"{subtask}.json"
    try:
        examples = json.loads(_text(path))["examples"]
        rows = [{"input": e["input"] + "", "target": e["target"] + ""} for e in examples]
    except (ValueError, KeyError, TypeError) as error:
        raise _wrong(path, "an object with `examples`, each with `input` and `target`") from error
    return {"test": _some(rows, path)}


def read_mmlu(folder: Path, subtask: str) -> Rows:
    """Splits `dev` and `test` of a subject: `question`, `subject`, `choices`, `answer` (0–3).

    Raises:
        CadaError: as in `read_gsm8k`.
    """
    return {
        split: _subject(folder / "mmlu" / split / f"{subtask}_{split}.csv", subtask)
        for split in ("dev", "test")
    }


def _subject(path: Path, subject: str) -> list[dict[str, Any]]:
    lines = csv.reader(StringIO(_text(path), newline=""))
    rows = []
    try:
        for line in lines:
            question, *choices, letter = line
            if len(choices) != len(_LETTERS):
                raise ValueError
            rows.append(
                {
                    "question": question,
                    "subject": subject,
                    "choices": choices,
                    "answer": _LETTERS.index(letter),
                }
            )
    except (ValueError, csv.Error) as error:
        asked = "a question, four choices and a letter from A to D, without a header"
        raise _wrong(path, asked, lines.line_num) from error
    return _some(rows, path)


def _json_lines(path: Path, names: Iterable[str]) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append({name: row[name] + "" for name in names})
        except (ValueError, KeyError, TypeError) as error:
            raise _wrong(path, f"an object with {' and '.join(names)}", number) from error
    return _some(rows, path)


def _text(path: Path) -> str:
    try:
        # universal newlines would change line ends within a quoted cell
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise CadaError(
            f"the benchmark's file cannot be read ({reason})",
            where=str(path),
            mend="--data expects gsm8k/{train,test}.jsonl, bbh/bbh/SUBTASK.json and "
            "mmlu/{dev,test}/SUBJECT_{dev,test}.csv; leave it out to fetch from the hub",
        ) from error


def _some(rows: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    if not rows:
        raise CadaError("the file holds no item", where=str(path), mend="Give the original file")
    return rows


def _wrong(path: Path, expected: str, line: int | None = None) -> CadaError:
    return CadaError(
        f"expected {expected}",
        where=str(path) if line is None else f"{path}, line {line}",
        mend="Give the original file",
    )
