"""A server that plays attacker, target and judge, told apart by the model's name."""

import json
from collections.abc import Callable
from typing import Any

from cada.config.judge import ChatOptions
from cada.judging.chat import ChatModel
from tests.judging.chat_server import ChatServer

Messages = list[tuple[str, str]]
Play = Callable[[Messages, dict[str, Any]], str | int]


class Stage:
    """Each role answers by its own function of the messages and the whole body."""

    def __init__(self, **plays: Play) -> None:
        self.plays = plays
        self.server = ChatServer(self._answer)

    def _answer(self, prompt: str) -> str | int:
        # With one question at a time, the last body is the one to answer.
        body = self.server.bodies[-1]
        return self.plays[body["model"]](messages(body), body)

    @property
    def calls(self) -> list[tuple[str, Messages]]:
        """Who was asked what, in order."""
        return [(body["model"], messages(body)) for body in self.server.bodies]

    def chat(self, role: str, **options: Any) -> ChatModel:
        """The role as a chat model, one question at a time."""
        return ChatModel(
            ChatOptions(
                model=role, base_url=self.server.url, concurrency=1, retries=0, wait=0.01, **options
            )
        )


def messages(body: dict[str, Any]) -> Messages:
    """A question's messages as (role, content)."""
    return [(m["role"], m["content"]) for m in body["messages"]]


def proposal(prompt: str, improvement: str = "") -> str:
    """What an attacker says that keeps to PAIR's format."""
    return json.dumps({"improvement": improvement, "prompt": prompt})
