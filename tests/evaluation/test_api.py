"""Models behind an API: the same messages as in memory, and each way in which a server fails."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cada.attacks.types import Attempt
from cada.casebook.loader import load_casebook
from cada.config.recipe import Prompting
from cada.errors import CadaError
from cada.evaluation import sets
from cada.evaluation.answers import read_answers
from cada.evaluation.api import ApiOptions, ApiTarget, make_api_target
from cada.evaluation.local import LocalTarget
from cada.evaluation.sets import measure
from cada.evaluation.targets import Output, TargetLostError
from cada.judging.refusal import RefusalJudge
from cada.models.load import load_policy
from cada.requests.types import Request, Turn
from cada.rollout.prompts import Prompter
from cada.rollout.types import Sampling
from tests.evaluation.scripted import REQUESTS
from tests.judging.chat_server import BROKEN, DROP, HANG, Answer, ChatServer
from tests.serving import serving

BOOK = load_casebook("default")
PLAIN = [Attempt.plain(request) for request in REQUESTS]
GREEDY = Sampling(24, temperature=0.0)


def target(url: str, prompting: Prompting | None = None, **options: Any) -> ApiTarget:
    given = ApiOptions(**{"retries": 0, "timeout": 60, **options})
    return make_api_target("openai/m", url, BOOK, prompting or Prompting(), given)


def ask(answer: Answer, attempts: list[Attempt] = PLAIN, **options: Any) -> list[Output]:
    with ChatServer(answer).running() as server:
        return target(server.url, **options).answer(attempts, "none", GREEDY)


def test_answers_come_in_order_with_tokens_and_finish_reason() -> None:
    found = ask(lambda prompt: prompt.upper())
    assert found == [Output(a.text.upper(), 10, "stop") for a in PLAIN]


def test_what_was_cut_off_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ChatServer.body

    def cut(said: str | int, model: str) -> bytes:
        data = json.loads(whole(said, model))
        data["choices"][0]["finish_reason"] = "length"
        return json.dumps(data).encode()

    monkeypatch.setattr(ChatServer, "body", staticmethod(cut))
    assert {o.finish_reason for o in ask(lambda prompt: "Yes and")} == {"length"}


def test_decoding_is_greedy_and_as_long_as_asked() -> None:
    with ChatServer(lambda prompt: "Yes.").running() as server:
        target(server.url).answer(PLAIN[:1], "none", GREEDY)
    (body,) = server.bodies
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.0, 24)
    assert body["seed"] == 0


@pytest.mark.parametrize("mode", ["none", "codes", "cases"])
def test_a_server_sees_the_prompt_that_a_model_in_memory_sees(tiny_folder: Path, mode: str) -> None:
    policy = load_policy(str(tiny_folder), device="cpu")
    prompting = Prompting(verdict=True)
    local = LocalTarget(policy, Prompter(BOOK, prompting, policy.tokenizer))
    talk = (Turn("user", "Hello"), Turn("assistant", "Hi."))
    more = Request("m", "And a bank?", True, "privacy", "test", "You are a pirate.", talk)
    attempts = [*PLAIN, Attempt.plain(more), Attempt(REQUESTS[0], "rot13", "Ubj qb V?")]
    with ChatServer(lambda prompt: "Yes.").running() as server:
        target(server.url, prompting, concurrency=1).answer(attempts, mode, GREEDY)
    for attempt, body in zip(attempts, server.bodies, strict=True):
        seen = policy.tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_dict=False
        )
        assert tuple(seen) == local.prompter.prompt(attempt.sent, mode, 0).ids


def test_reasoning_that_was_taken_out_is_put_back() -> None:
    (found,) = ask(lambda prompt: "<think>It is fine.</think>Yes.", PLAIN[:1])
    assert found.text == "<think>\nIt is fine.\n</think>\n\nYes."


@pytest.mark.parametrize(
    ("said", "problem"),
    [(429, "RateLimit"), (500, "InternalServer"), (400, "400"), (BROKEN, "JSON")],
)
def test_a_failure_is_no_answer_and_the_others_go_on(said: int, problem: str) -> None:
    found = ask(lambda prompt: said if prompt == PLAIN[1].text else "Yes.")
    assert [o.text for o in found] == ["Yes.", None, "Yes.", "Yes."]
    assert found[1].finish_reason == "error"
    assert problem in str(found[1].problem)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (401, "key is refused"),
        (403, "key is refused"),
        (404, "no such model"),
        (503, "no server answers"),
        (DROP, "no server answers"),
    ],
)
def test_what_cannot_get_better_ends_it(said: int, problem: str) -> None:
    with pytest.raises(TargetLostError, match=problem) as error:
        ask(lambda prompt: said)
    assert "http://127.0.0.1" in str(error.value)


def test_a_single_refusal_of_the_key_is_no_end_once_others_were_answered() -> None:
    found = ask(lambda prompt: 403 if prompt == PLAIN[2].text else "Yes.", concurrency=1)
    assert [o.text is None for o in found] == [False, False, True, False]


def test_a_server_that_is_not_there_is_told() -> None:
    with ChatServer(lambda prompt: "Yes.").running() as server:
        url = server.url
    with pytest.raises(CadaError, match="no server answers"):
        target(url).answer(PLAIN[:1], "none", GREEDY)


def test_one_question_that_takes_too_long_does_not_end_it() -> None:
    (found,) = ask(lambda prompt: HANG, PLAIN[:1], timeout=1)
    assert (found.text, found.finish_reason) == (None, "error")
    assert "imeout" in str(found.problem)


def test_a_server_that_dies_half_way_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sets, "_PIECE", 8)
    requests = [Request(str(i), f"Question {i}?", False, None, "test") for i in range(20)]
    attempts = {"set": [Attempt.plain(request) for request in requests]}
    file = tmp_path / "answers.jsonl"

    def run(answer: Answer) -> tuple[list[Any], list[str]]:
        with ChatServer(answer).running() as server:
            under_test = target(server.url, concurrency=2, give_up=3)
            try:
                found = measure(under_test, RefusalJudge(), attempts, ["none"], 24, file, "after")
            finally:
                asked.append(list(server.prompts))
            return found, server.prompts

    asked: list[list[str]] = []
    answered: list[str] = []

    def dying(prompt: str) -> str | int:
        if len(answered) >= 11:
            return DROP
        answered.append(prompt)
        return "It is."

    with pytest.raises(CadaError, match="after 11 answers, which are kept") as error:
        run(dying)
    assert "\n" not in str(error.value)
    assert "the same command then goes on" in str(error.value)
    kept = read_answers(file)
    assert sorted(a.request for a in kept) == sorted(answered)
    found, again = run(lambda prompt: "It is.")
    assert [a.request for a in found] == [r.text for r in requests]
    assert sorted(again) == sorted({r.text for r in requests} - set(answered))
    assert len(read_answers(file)) == 20


def test_a_prefill_is_not_sent_to_a_server_that_may_not_go_on_from_it() -> None:
    attempts = [Attempt(REQUESTS[0], "borrowed", REQUESTS[0].text, "Analysis: Fine."), PLAIN[1]]
    with ChatServer(lambda prompt: "Yes.").running() as server:
        found = target(server.url).answer(attempts, "none", GREEDY)
    assert (found[0].text, found[0].finish_reason) == (None, "error")
    assert "prefill" in str(found[0].problem)
    assert server.prompts == [PLAIN[1].text]


@pytest.mark.parametrize("how", ["send", "continue_final_message"])
def test_a_prefill_is_the_last_message_and_opens_the_answer(how: str) -> None:
    attempt = Attempt(REQUESTS[0], "borrowed", REQUESTS[0].text, "Analysis: Fine.")
    with ChatServer(lambda prompt: " Go on.").running() as server:
        (found,) = target(server.url, prefill=how).answer([attempt], "none", GREEDY)
    assert found.text == "Analysis: Fine. Go on."
    (body,) = server.bodies
    assert body["messages"][-1] == {"role": "assistant", "content": "Analysis: Fine."}
    assert body.get("continue_final_message", False) == (how == "continue_final_message")


def test_without_a_key_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(CadaError, match="OPENAI_API_KEY"):
        make_api_target("openai/gpt-4o-mini", None, BOOK, Prompting())


def test_an_unknown_provider_is_told() -> None:
    with pytest.raises(CadaError, match="nosuch"):
        make_api_target("nosuch/model", None, BOOK, Prompting())


def test_a_server_of_ones_own_gets_its_own_key_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "for-openai-alone")
    monkeypatch.setenv("CADA_API_KEY", "for-this-server")
    with ChatServer(lambda prompt: "Yes.").running() as server:
        target(server.url).answer(PLAIN[:1], "none", GREEDY)
    assert server.keys == ["Bearer for-this-server"]


def test_torch_is_not_needed() -> None:
    code = (
        "import sys, cada.evaluation.api; assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_greedy_answers_of_a_real_server_are_those_of_local_decoding(tiny_folder: Path) -> None:
    policy = load_policy(str(tiny_folder), device="cpu")
    local = LocalTarget(policy, Prompter(BOOK, Prompting(), policy.tokenizer))
    with serving(tiny_folder) as url:
        served = make_api_target(f"openai/{tiny_folder}", url, BOOK, Prompting())
        for mode in ("none", "cases"):
            found = served.answer(PLAIN, mode, GREEDY)
            assert found == local.answer(PLAIN, mode, GREEDY)
