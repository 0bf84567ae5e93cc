"""Asking a chat model over HTTP: the cache, the caps, and each way in which a server fails."""

import json
from pathlib import Path
from typing import Any

import pytest

from cada.config.judge import ChatOptions
from cada.errors import CadaError
from cada.judging.chat import ChatModel, Question
from cada.requests.types import Turn
from tests.judging.chat_server import BROKEN, DROP, HANG, Answer, ChatServer


def model(server: ChatServer, **options: Any) -> ChatModel:
    given = {"retries": 0, "wait": 0.01, "timeout": 60, **options}
    return ChatModel(ChatOptions(model="m", base_url=server.url, **given))


def ask(
    answer: Answer, prompts: list[str], **options: Any
) -> tuple[ChatModel, ChatServer, list[Any]]:
    with ChatServer(answer).running() as server:
        chat = model(server, **options)
        return chat, server, chat.ask(prompts)


def test_replies_come_in_order_and_equal_prompts_are_asked_once() -> None:
    chat, server, replies = ask(lambda p: p.upper(), ["a", "b", "a", "c"])
    assert [r.text for r in replies] == ["A", "B", "A", "C"]
    assert sorted(server.prompts) == ["a", "b", "c"]
    assert chat.usage.calls == 3
    assert (chat.usage.input_tokens, chat.usage.output_tokens) == (300, 30)


def test_no_more_questions_at_once_than_allowed() -> None:
    _, server, replies = ask(lambda p: p, [str(n) for n in range(20)], concurrency=3)
    assert len(replies) == 20
    assert 1 <= server.most_at_once <= 3


def test_a_second_run_costs_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "replies.jsonl"
    with ChatServer(lambda p: p.upper()).running() as server:
        model(server, cache=cache).ask(["a", "b"])
        with cache.open("a", encoding="utf-8") as file:
            file.write('{"key": "cut o')  # as a kill leaves it
        again = model(server, cache=cache)
        replies = again.ask(["a", "b", "c"])
        assert [(r.text, r.cached) for r in replies] == [("A", True), ("B", True), ("C", False)]
        assert len(server.prompts) == 3
        assert (again.usage.calls, again.usage.cached) == (1, 2)
    assert len([json.loads(line) for line in cache.read_text("utf-8").splitlines()]) == 3


def test_the_cache_knows_models_apart(tmp_path: Path) -> None:
    cache = tmp_path / "replies.jsonl"
    with ChatServer(lambda p: p.upper()).running() as server:
        model(server, cache=cache).ask(["a"])
        other = ChatModel(ChatOptions(model="other", base_url=server.url, retries=0, cache=cache))
        assert not other.ask(["a"])[0].cached


@pytest.mark.parametrize(
    ("said", "problem"),
    [(429, "RateLimit"), (500, "InternalServer"), (400, "400"), (DROP, "Connection"),
     (HANG, "Timeout"), (BROKEN, "JSON"), ("", "empty reply")],
)  # fmt: skip
def test_a_failure_is_a_reply_with_its_reason_and_the_others_go_on(
    said: str | int, problem: str
) -> None:
    chat, _, replies = ask(
        lambda p: said if p == "bad" else "fine", ["bad", "good"], timeout=3 if said == HANG else 60
    )
    assert replies[0].text is None
    assert problem in replies[0].problem
    assert replies[1].text == "fine"
    assert chat.usage.failed == 1


def test_a_server_that_recovers_is_asked_again() -> None:
    tries: list[str] = []

    def answer(prompt: str) -> str | int:
        tries.append(prompt)
        return 429 if len(tries) < 3 else "fine"

    chat, _, replies = ask(answer, ["a"], retries=3)
    assert replies[0].text == "fine"
    assert chat.usage.calls == 3


def test_failures_are_not_cached(tmp_path: Path) -> None:
    cache = tmp_path / "replies.jsonl"
    ask(lambda p: 500, ["a"], cache=cache)
    assert not cache.exists()


def test_the_cap_on_calls_counts_every_attempt() -> None:
    chat, server, replies = ask(
        lambda p: 500, ["a", "b", "c"], retries=5, max_calls=4, concurrency=1
    )
    assert len(server.prompts) == 4
    assert chat.usage.calls == 4
    assert [r.text for r in replies] == [None] * 3
    assert "cap of 4 calls" in str(replies[2].problem)


def test_the_cap_on_the_cost_is_never_passed() -> None:
    price = {"price": (1000.0, 10_000.0), "max_tokens": 10, "max_cost": 1.0}
    chat, _, replies = ask(lambda p: "fine", [str(n) for n in range(20)], concurrency=8, **price)
    assert chat.usage.cost is not None
    assert 0.2 < chat.usage.cost <= 1.0
    refused = [r for r in replies if r.text is None]
    assert refused
    assert all("cap of 1 on the cost" in r.problem for r in refused)


def test_without_an_api_key_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(CadaError, match="OPENAI_API_KEY") as caught:
        ChatModel(ChatOptions(model="openai/gpt-4o-mini")).ask(["a"])
    assert "\n" not in str(caught.value)
    assert "[bold]" not in str(caught.value)


def test_a_refused_key_stops_everything() -> None:
    with pytest.raises(CadaError, match="the key is refused"):
        ask(lambda p: 401, ["a", "b"])


def test_an_unknown_provider_is_told() -> None:
    with pytest.raises(CadaError, match="not recognized"):
        ChatModel(ChatOptions(model="nonsense/m")).ask(["a"])


def test_in_a_runs_own_file_failures_stay_and_caps_count_on(tmp_path: Path) -> None:
    """A run that was killed goes on with the replies that it had, and spends no more."""
    path = tmp_path / "replies.jsonl"
    price = {"price": (1000.0, 10_000.0), "max_tokens": 10, "max_calls": 3}
    with ChatServer(lambda p: 500 if p == "bad" else "fine").running() as server:

        def start() -> ChatModel:
            return ChatModel(
                ChatOptions(
                    model="m", base_url=server.url, cache=path, retries=0, timeout=60, **price
                ),
                ledger=True,
            )

        first = start()
        before = first.ask(["bad", "good"])
        assert [r.text for r in before] == [None, "fine"]
        again = start()
        assert [(r.text, r.problem) for r in again.ask(["bad", "good"])] == [
            (r.text, r.problem) for r in before
        ]
        assert len(server.prompts) == 2
        assert again.usage.calls == first.usage.calls == 2
        assert again.usage.cost == pytest.approx(first.usage.cost)
        assert first.usage.cost is not None
        assert first.usage.cost > 0.2  # what failed may have cost the most that it can
        third, fourth = again.ask(["third", "fourth"])
        assert [third.text, fourth.text] == ["fine", None]
        assert "cap of 3 calls" in str(start().ask(["fourth"])[0].problem)
        # Elsewhere what failed is asked again.
        other = ChatModel(ChatOptions(model="m", base_url=server.url, cache=path, retries=0))
        assert other.usage.calls == 0
        assert other.ask(["fourth"])[0].text == "fine"


def test_a_key_goes_to_its_own_provider_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.delenv("CADA_API_KEY", raising=False)
    _, server, _ = ask(lambda p: "fine", ["a"])
    assert server.keys == ["Bearer none"]
    monkeypatch.setenv("CADA_API_KEY", "mine")
    _, server, _ = ask(lambda p: "fine", ["a"])
    assert server.keys == ["Bearer mine"]


TALK = (Turn("system", "Be brief."), Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"))


def test_a_conversation_goes_out_turn_by_turn_with_its_sampling() -> None:
    with ChatServer(lambda p: p.upper()).running() as server:
        chat = model(server, temperature=0.7, top_p=0.9)
        (reply,) = chat.ask([Question(TALK, draw=5)])
    assert reply.text == "C"
    (body,) = server.bodies
    assert [(m["role"], m["content"]) for m in body["messages"]] == [
        (turn.role, turn.content) for turn in TALK
    ]
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.7, 0.9, 5)


def test_judges_decode_greedily_and_send_no_seed() -> None:
    _, server, _ = ask(lambda p: p, ["a"])
    assert server.bodies[0]["temperature"] == 0
    assert "seed" not in server.bodies[0]
    assert "top_p" not in server.bodies[0]


def test_the_cache_knows_conversations_draws_and_temperatures_apart(tmp_path: Path) -> None:
    cache = tmp_path / "replies.jsonl"
    asked: list[str | Question] = [
        Question(TALK),
        Question(TALK, draw=1),
        Question(TALK[1:]),
        Question((Turn("assistant", "a"), *TALK[2:])),
        "c",
    ]
    with ChatServer(lambda p: p.upper()).running() as server:
        for temperature in (0.0, 1.0):
            for _ in range(2):
                model(server, cache=cache, temperature=temperature).ask([*asked, asked[0]])
        assert len(server.prompts) == 2 * len(asked)


def test_a_role_that_there_is_not() -> None:
    with pytest.raises(CadaError, match="role 'tool'"):
        Question((Turn("tool", "a"),))


def test_the_cap_on_the_cost_counts_every_turn() -> None:
    price = {"price": (1000.0, 0.0), "max_tokens": 1, "max_cost": 0.35}
    with ChatServer(lambda p: "fine").running() as server:
        (reply,) = model(server, **price).ask([Question(TALK)])
    assert "cap of 0.35 on the cost" in str(reply.problem)
    assert not server.prompts


def test_a_run_may_ask_again_what_failed_and_still_counts_it(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    down = True
    with ChatServer(lambda p: 500 if down else "fine").running() as server:
        options = ChatOptions(model="m", base_url=server.url, cache=path, retries=0, max_calls=2)

        def start() -> ChatModel:
            return ChatModel(options, ledger=True, ask_again=True)

        assert start().ask(["a"])[0].text is None
        down = False
        assert start().ask(["a"])[0].text == "fine"
        third = start()
        assert third.usage.calls == 2
        assert [r.text for r in third.ask(["a", "b"])] == ["fine", None]
    assert server.prompts == ["a", "a"]
