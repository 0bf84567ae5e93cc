"""The example policy is one that a reader may copy."""

from collections import Counter
from pathlib import Path

import pytest

from cada.casebook.loader import count_words, load_casebook
from cada.casebook.schema import Casebook, CaseKind
from cada.config.load import load_recipe
from cada.config.sources import RequestSource
from cada.requests.decontaminate import decontaminate
from cada.requests.sources import load_requests, load_texts
from cada.requests.types import Request

ROOT = Path(__file__).parents[2]
HOSPITAL = ROOT / "examples" / "hospital"
DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def casebook() -> Casebook:
    return load_casebook(HOSPITAL)


def requests(part: str, casebook: Casebook) -> list[Request]:
    return load_requests(RequestSource(path=str(HOSPITAL / f"{part}.jsonl")), casebook)


def test_every_hazard_refuses_and_complies_alike(casebook: Casebook) -> None:
    for hazard in casebook.hazards:
        kinds = Counter(case.kind for case in hazard.cases)
        assert kinds[CaseKind.REFUSE] == kinds[CaseKind.COMPLY] == 3
        for case in hazard.cases:
            declines = "I should decline" in case.reasoning
            assert declines == (case.kind is CaseKind.REFUSE), case.id
            assert count_words(case.request) <= 16
            assert count_words(case.reasoning) <= 26
            assert count_words(case.response) <= 20


@pytest.mark.parametrize(("part", "each"), [("train", 16), ("test", 8)])
def test_every_hazard_has_requests_of_both_kinds(casebook: Casebook, part: str, each: int) -> None:
    found = Counter((r.hazard, r.kind) for r in requests(part, casebook))
    ids = [hazard.id for hazard in casebook.hazards]
    assert found == {(i, kind): each for i in ids for kind in ("harmful", "lookalike")}


def test_nothing_is_said_twice_and_no_case_is_a_request(casebook: Casebook) -> None:
    train, test = requests("train", casebook), requests("test", casebook)
    cases = [case.request for hazard in casebook.hazards for case in hazard.cases]
    kept = decontaminate([*train, *test], {"cases": cases})
    assert [drop.text for drop in kept.dropped] == []


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the benchmark data in ../shared/data")
def test_no_request_is_a_benchmarks(casebook: Casebook) -> None:
    files = {"advbench/harmful_behaviors.csv": "goal", "xstest/xstest_prompts.csv": "prompt"}
    tests = {
        name: load_texts(RequestSource(path=str(DATA / name), columns={"text": column}))
        for name, column in files.items()
    }
    kept = decontaminate([*requests("train", casebook), *requests("test", casebook)], tests)
    assert [drop.text for drop in kept.dropped] == []


def test_its_recipe_trains_on_it(monkeypatch: pytest.MonkeyPatch, casebook: Casebook) -> None:
    monkeypatch.chdir(ROOT)
    recipe = load_recipe(ROOT / "recipes" / "hospital.yaml")
    assert load_casebook(recipe.casebook) == casebook
    drawn = {r.hazard for s in recipe.requests.train for r in load_requests(s, casebook)}
    assert drawn == {hazard.id for hazard in casebook.hazards} | {None}
