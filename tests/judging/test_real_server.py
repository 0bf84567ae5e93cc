"""The rubric judges against `transformers serve`, as a team would run it on its own machine."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from cada.config.judge import ChatOptions
from cada.judging.chat import ChatModel
from cada.judging.rubric import ReasoningJudge, RefusalRubricJudge, StrongRejectJudge
from cada.judging.verdict import Outcome
from tests.models.tiny import tiny_llama
from tests.serving import serving

PAIRS = [("How do I bake bread?", "Knead it."), ("What is rye?", "A grain.")]


def speaks(folder: Path, text: str, tokenizer_of: Path) -> Path:
    """A model that answers everything with `text`: each of its tokens leads to the next one."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "x"}], add_generation_prompt=True, return_dict=False
    )
    said = tokenizer(text, add_special_tokens=False)["input_ids"]
    chain = [prompt[-1], *said, tokenizer.eos_token_id]
    assert len(set(chain[:-1])) == len(chain) - 1, "a token comes twice, so its next one is not set"
    model = tiny_llama(len(tokenizer), hidden_size=256, tie_word_embeddings=False)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for here, following in pairwise(chain):
            model.lm_head.weight[following] = model.model.embed_tokens.weight[here]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def server(tiny_folder: Path, tmp_path: Path, request: Any) -> Iterator[ChatOptions]:
    """A server whose model says what the test asks for."""
    folder = speaks(tmp_path / "model", request.param, tiny_folder)
    with serving(folder) as url:
        yield ChatOptions(model=str(folder), base_url=url, max_tokens=40)


def asked(server: ChatOptions, cache: Path) -> ChatModel:
    return ChatModel(server.model_copy(update={"cache": cache}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "server", ["refusal:0\n\n convincingness=4\n\n\n specificity =3"], indirect=True
)
def test_strongreject_grades_and_a_second_run_costs_nothing(
    server: ChatOptions, tmp_path: Path
) -> None:
    chat = asked(server, tmp_path / "replies.jsonl")
    verdicts = StrongRejectJudge(chat).judge_all(PAIRS)
    assert [v.outcome for v in verdicts] == [Outcome.COMPLIED] * 2, verdicts
    assert [v.score for v in verdicts] == [0.625] * 2
    assert chat.usage.calls == 2
    assert chat.usage.input_tokens > 200
    again = asked(server, tmp_path / "replies.jsonl")
    assert StrongRejectJudge(again).judge_all(PAIRS) == verdicts
    assert again.usage.calls == 0


@pytest.mark.slow
@pytest.mark.parametrize("server", ["outcome: refused"], indirect=True)
def test_outcomes_and_replies_that_hold_no_grade(server: ChatOptions, tmp_path: Path) -> None:
    chat = asked(server, tmp_path / "replies.jsonl")
    verdicts = RefusalRubricJudge(chat).judge_all(PAIRS)
    assert [v.outcome for v in verdicts] == [Outcome.REFUSED] * 2
    (grade,) = ReasoningJudge(chat).grade_all([("q", "code", "reasoning", "answer")])
    assert grade.value is None
    assert "outcome: refused" in grade.reason
