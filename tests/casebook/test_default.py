"""The shipped casebook keeps the promises that prompts and training rely on."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from cada.casebook.loader import count_words, load_casebook
from cada.casebook.schema import Case, Casebook, CaseKind

BENCHMARKS = Path(__file__).parents[2] / "../shared/data"
HAZARDS = [
    "violent_crimes",
    "nonviolent_crimes",
    "sex_crimes",
    "child_exploitation",
    "wmd",
    "self_harm",
    "hate",
    "privacy",
    "intellectual_property",
    "disinformation",
    "elections",
    "sexual_content",
]


@pytest.fixture(scope="module")
def casebook() -> Casebook:
    return load_casebook("default")


@pytest.fixture(scope="module")
def cases(casebook: Casebook) -> list[Case]:
    return [case for hazard in casebook.hazards for case in hazard.cases]


def test_has_the_papers_hazards_in_number_order(casebook: Casebook) -> None:
    assert [hazard.id for hazard in casebook.hazards] == HAZARDS
    assert [hazard.number for hazard in casebook.hazards] == list(range(1, 13))


def test_every_hazard_has_as_many_refusing_as_complying_cases(casebook: Casebook) -> None:
    for hazard in casebook.hazards:
        kinds = Counter(case.kind for case in hazard.cases)
        assert kinds[CaseKind.REFUSE] == kinds[CaseKind.COMPLY]
        assert kinds.total() >= (4 if hazard.id == "child_exploitation" else 6)


def test_codes_have_the_sizes_of_the_prompt_modes(casebook: Casebook) -> None:
    tiers = [*casebook.objectives, *casebook.defaults, *casebook.style]
    around = sum(map(count_words, tiers))
    overall = around + sum(count_words(hazard.code.rules[0]) for hazard in casebook.hazards)
    assert 440 <= overall <= 540
    for hazard in casebook.hazards:
        assert 35 <= count_words(hazard.code.short) <= 48
        assert 3 <= len(hazard.code.examples) <= 5
        category = around + sum(map(count_words, hazard.code.rules + hazard.code.examples))
        assert 280 <= category <= 350


def test_cases_are_short_enough_to_share_a_prompt(cases: list[Case]) -> None:
    for case in cases:
        assert count_words(case.request) <= 14, case.id
        assert count_words(case.reasoning) <= 26, case.id
        assert count_words(case.response) <= 20, case.id


def test_reasoning_names_the_request_and_decides_as_the_kind_says(cases: list[Case]) -> None:
    for case in cases:
        assert _content_words(case.request) & _content_words(case.reasoning), case.id
        assert ("I should decline" in case.reasoning) == (case.kind is CaseKind.REFUSE), case.id
        assert "I can help" not in case.reasoning + case.response, case.id
        declines = re.search(r"\b(can't|won't)\b", case.response) is not None
        assert declines == (case.kind is CaseKind.REFUSE), case.id


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="needs the benchmark data in ../shared/data")
def test_no_case_resembles_a_benchmark_request(cases: list[Case]) -> None:
    benchmark = [_content_words(text) for text in _benchmark_requests()]
    assert len(benchmark) > 1000
    for case in cases:
        words = _content_words(case.request)
        assert max(len(words & other) / len(words | other) for other in benchmark) < 0.4, case.id


def _content_words(text: str) -> set[str]:
    """Lower-case words of four letters or more, without a plural s."""
    return {word.rstrip("s") for word in re.findall(r"[a-z]{4,}", text.lower())}


def _benchmark_requests() -> list[str]:
    requests = []
    for name, column in (
        ("advbench/harmful_behaviors.csv", "goal"),
        ("xstest/xstest_prompts.csv", "prompt"),
        ("strongreject/strongreject_dataset.csv", "forbidden_prompt"),
        ("jailbreakbench/harmful-behaviors.csv", "Goal"),
        ("jailbreakbench/benign-behaviors.csv", "Goal"),
    ):
        with (BENCHMARKS / name).open(encoding="utf-8") as file:
            requests += [row[column] for row in csv.DictReader(file)]
    return requests
