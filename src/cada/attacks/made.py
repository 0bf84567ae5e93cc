"""What an attacker model makes of a request, and the ways in which it fails to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cada.attacks.types import Attempt
from cada.judging.chat import ChatModel, Question, Reply
from cada.judging.text import well_formed
from cada.requests.types import Request, Turn

Respond = Callable[[Sequence[Attempt]], list[Reply]]
"""A target: one reply to each attempt, in their order."""


@dataclass(frozen=True)
class Made:
    """An attack on one request.

    `problem` is set where the attacker answered and gave no prompt: `text` is then the request
    itself. `score` is the judge's, from 1 to 10, where the attack has one.
    """

    text: str
    prefill: str = ""
    score: float | None = None
    problem: str | None = None
    transcript: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Unasked:
    """A model could not be asked, so that there is no attack yet; asking again may help."""

    problem: str


def chat_target(chat: ChatModel) -> Respond:
    """A chat model as the target: it sees the attempt, with the request's own context."""

    def respond(attempts: Sequence[Attempt]) -> list[Reply]:
        return chat.ask([_question(attempt) for attempt in attempts])

    return respond


def _question(attempt: Attempt) -> Question:
    request: Request = attempt.sent
    system = [Turn("system", request.system)] if request.system else []
    turns = [*system, *request.history, Turn("user", request.text)]
    return Question(tuple(Turn(turn.role, well_formed(turn.content)) for turn in turns))
