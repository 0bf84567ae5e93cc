"""The canary's loss against transformers' own, and its files."""

import re
from pathlib import Path

import pytest
import torch

from cada.casebook.loader import load_casebook
from cada.config.recipe import Prompting
from cada.errors import CadaError
from cada.evaluation.canary import EMBEDDED, canary_loss, load_pairs
from cada.models.load import load_policy
from cada.rollout.prompts import Prompter

PAIRS = [("Where do bees live?", "In hives."), ("Two and two?", "Four, as ever."), ("Who?", "I.")]


@pytest.mark.parametrize("tokens", [40, 4096], ids=["many passes", "one pass"])
def test_the_loss_is_that_of_a_plain_forward_pass(tiny_folder: Path, tokens: int) -> None:
    policy = load_policy(str(tiny_folder), device="cpu")
    prompter = Prompter(load_casebook("default"), Prompting(), policy.tokenizer)
    found = canary_loss(policy, prompter, PAIRS, tokens)
    for (question, reply), loss, opening in zip(PAIRS, found.per_pair, found.opening, strict=True):
        turns = [{"role": "user", "content": question}]
        prompt = policy.tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_dict=False
        )
        answer = [*policy.tokenizer(reply).input_ids, policy.tokenizer.eos_token_id]
        labels = torch.tensor([[-100] * len(prompt) + answer])
        with torch.no_grad():
            whole = policy.model(input_ids=torch.tensor([prompt + answer]), labels=labels)
            first = policy.model(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
        assert loss == pytest.approx(float(whole.loss), rel=1e-5)
        assert opening == pytest.approx(-float(first[answer[0]]), rel=1e-5)


def test_the_embedded_pairs_are_a_few_hundred_and_all_different() -> None:
    pairs = load_pairs(EMBEDDED)
    assert len(pairs) >= 200
    assert len({question for question, _ in pairs}) == len(pairs)
    assert all(question.strip() and answer.strip() for question, answer in pairs)


def test_pairs_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"question": "Où ?", "answer": "Là."}\n\n', encoding="utf-8")
    assert load_pairs(str(path)) == [("Où ?", "Là.")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"question": "a", "answer": "b"}\n{"question": "c"}\n', "line 2: the line is no JSON"),
        (b"[1, 2]\n", "line 1: the line is no JSON"),
        (b"{\n", "line 1: the line is no JSON"),
        (b"\n", "there is no question-answer pair"),
        (b"\xff\xfe", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "pairs.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CadaError, match=re.escape(said)):
        load_pairs(str(path))
