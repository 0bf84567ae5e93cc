"""The three benchmarks in small: files in their original layout, and the hub's data sets by hand.

All items are written here; none is of the benchmarks.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from lm_eval import tasks

_TASKS = Path(tasks.__file__).parent
SUBTASKS = sorted(p.stem for p in (_TASKS / "bbh/zeroshot").glob("[a-z]*.yaml"))
SUBJECTS = sorted(
    p.stem.removeprefix("mmlu_") for p in (_TASKS / "mmlu/default").glob("mmlu_*.yaml")
)
SUMS = {
    split: [
        {
            "question": f"Ada has {n} pens and buys {n + 1} “new” ones. How many has she now?\n",
            "answer": f"She has {n} + {n + 1} = <<{n}+{n + 1}={2 * n + 1}>>pens.\n#### {2 * n + 1}",
        }
        for n in range(first, first + count)
    ]
    for split, first, count in (("train", 10, 9), ("test", 50, 4))
}


def riddles(subtask: str) -> list[dict[str, str]]:
    """Three items that every filter of the harness can read."""
    return [
        {
            "input": f"{subtask}, {n}: which is first?\nOptions:\n(A) one\n(B) two\nList: b a",
            "target": "(A)" if n % 2 else "(B)",
        }
        for n in range(3)
    ]


def questions(subject: str, split: str, count: int) -> list[dict[str, Any]]:
    """With what CSV makes hard: quotes, commas, line breaks, leading spaces, odd separators."""
    return [
        {
            "question": f'  In {subject} ({split}), what is "{n}", said twice?\nSay it.\x1d \r\n',
            "subject": subject,
            "choices": [f"{n}, {n}", f" {n + 1}", f"“{n}”\u2028", "none"],
            "answer": n % 4,
        }
        for n in range(count)
    ]


def write(folder: Path) -> Path:
    """All files of the three benchmarks."""
    for split, rows in SUMS.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        _put(folder / f"gsm8k/{split}.jsonl", lines)
    for subtask in SUBTASKS:
        held = {"canary": "x", "examples": riddles(subtask)}
        _put(folder / f"bbh/bbh/{subtask}.json", json.dumps(held))
    for subject in SUBJECTS:
        for split, count in (("dev", 5), ("test", 2)):
            path = folder / f"mmlu/{split}/{subject}_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8", newline="") as file:
                for row in questions(subject, split, count):
                    letter = "ABCD"[row["answer"]]
                    csv.writer(file).writerow([row["question"], *row["choices"], letter])
    return folder


def hub(
    sums: dict[str, list[dict[str, str]]],
    riddle: Callable[[str], list[dict[str, str]]],
    question: Callable[[str, str], list[dict[str, Any]]],
) -> Callable[..., DatasetDict]:
    """What `datasets.load_dataset` would give for the three data sets on the hub."""
    mmlu = Features(
        {
            "question": Value("string"),
            "subject": Value("string"),
            "choices": List(Value("string")),
            "answer": ClassLabel(names=["A", "B", "C", "D"]),
        }
    )

    def load_dataset(path: str, name: str, **_: Any) -> DatasetDict:
        if (path, name) == ("openai/gsm8k", "main"):
            return DatasetDict({split: Dataset.from_list(rows) for split, rows in sums.items()})
        if path == "SaylorTwift/bbh":
            return DatasetDict({"test": Dataset.from_list(riddle(name))})
        assert path == "cais/mmlu"
        splits = ("dev", "test")
        held = {s: Dataset.from_list(question(name, s), features=mmlu) for s in splits}
        return DatasetDict(held)

    return load_dataset


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
