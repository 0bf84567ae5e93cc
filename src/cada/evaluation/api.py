"""A model behind an API as the target of an evaluation.

Calls go through inspect_ai's model layer (`pip install cada-align[eval]`), so that every provider
it knows can be evaluated, and with a base URL any server that speaks OpenAI's protocol. Answers are
untrusted text.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cada.attacks.types import Attempt
from cada.casebook.schema import Casebook
from cada.config.recipe import Prompting
from cada.errors import CadaError
from cada.evaluation.targets import CASES_SEED, Output, TargetLostError
from cada.judging.chat import _KEY as KEY
from cada.judging.chat import _SERVICE as SERVICE
from cada.judging.chat import _plain as plain
from cada.prompting.deliberation import FormatStyle, render
from cada.requests.types import Turn
from cada.rollout.conversations import Composer
from cada.rollout.types import Sampling

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput

_OPENAI = "openai/"
_SEED = 0  # sent to servers that heed one; greedy answers should need none

GO_ON = {"continue_final_message": True, "add_generation_prompt": False}
"""What makes vLLM and SGLang go on from a last message of the assistant."""

Prefill = Literal["refuse", "send", "continue_final_message"]


@dataclass(frozen=True)
class ApiOptions:
    """How a model behind an API is asked.

    Args:
        concurrency: questions that are open at a time.
        retries: further attempts of one question, with inspect_ai's growing waits (3 s and more).
        timeout: seconds that one attempt may take.
        give_up: so many answers in a row that no server gave, and no more are asked for.
        prefill: what is done with text put into the model's mouth. The protocol does not say
            whether a server goes on from a last assistant message or begins a new turn after it,
            so by default such an attempt is not sent. `send` sends the message, for servers that
            go on from it by themselves; `continue_final_message` also asks for it by vLLM's and
            SGLang's name.
    """

    concurrency: int = 8
    retries: int = 3
    timeout: int = 600
    give_up: int = 5
    prefill: Prefill = "refuse"


def make_api_target(
    model: str,
    base_url: str | None,
    casebook: Casebook,
    prompting: Prompting,
    options: ApiOptions | None = None,
    *,
    system_role: bool = True,
) -> "ApiTarget":
    """A model behind an API, asked with the same messages as a model in memory.

    Args:
        model: inspect_ai's name (`openai/gpt-4o-mini`, `anthropic/…`); with `base_url`,
            `openai/NAME` or NAME, where NAME is the server's own.
        base_url: a server that speaks OpenAI's protocol, up to and with its `/v1`.
        casebook: where codes and cases come from.
        prompting: how they are put before a request.
        options: how the model is asked.
        system_role: whether the model takes system messages.

    Raises:
        CadaError: inspect_ai or a provider's package is missing, the provider is unknown, or there
            is no key.
    """
    target = ApiTarget(
        model, base_url, Composer(casebook, prompting, system_role), options or ApiOptions()
    )
    target.connect()
    return target


class ApiTarget:
    """A model behind an API."""

    def __init__(
        self, model: str, base_url: str | None, composer: Composer, options: ApiOptions
    ) -> None:
        self.name = model
        self.style = composer.style
        self.base_url = base_url
        self.composer = composer
        self.options = options
        self._answered = False
        self._failures = 0  # in a row, of the kind that no server gave
        self._unreached = 0  # in this call, with no server there at all

    def answer(self, attempts: Sequence[Attempt], mode: str, sampling: Sampling) -> list[Output]:
        """One answer to each attempt under a prompt mode, in their order.

        What could not be had is an output of finish reason `error`, with its problem.

        Raises:
            CadaError: see `make_api_target`.
            TargetLostError: the key is refused, there is no such model, or no server answers.
        """
        return asyncio.run(self._all(attempts, mode, sampling))

    async def _all(
        self, attempts: Sequence[Attempt], mode: str, sampling: Sampling
    ) -> list[Output]:
        limit = asyncio.Semaphore(self.options.concurrency)
        self._unreached = 0
        had: dict[int, Output] = {}
        lost: list[TargetLostError] = []

        async def one(model: "Model", place: int, attempt: Attempt) -> None:
            async with limit:
                if lost:
                    return
                try:
                    had[place] = await self._one(model, attempt, mode, sampling)
                except TargetLostError as error:
                    lost.append(error)

        async with self.connect() as model:
            await asyncio.gather(*(one(model, i, a) for i, a in enumerate(attempts)))
        if not lost and had and self._unreached == len(had):
            lost.append(self._gone(next(iter(had.values())).problem or ""))
        if lost:
            kept = {i: had[i] for i in sorted(had) if had[i].text is not None}
            raise TargetLostError(lost[0].what, kept, where=lost[0].where, mend=lost[0].mend or "")
        return [had[i] for i in range(len(attempts))]

    async def _one(self, model: "Model", attempt: Attempt, mode: str, sampling: Sampling) -> Output:
        if attempt.prefill and self.options.prefill == "refuse":
            return _error(
                "the server is not known to go on from a prefill (tell it with the prefill option)"
            )
        conversation = self.composer.conversation(attempt.sent, mode, CASES_SEED)
        messages = to_messages(conversation.messages, attempt.prefill)
        config = self._config(sampling, prefilled=bool(attempt.prefill))
        try:
            output = await model.generate(messages, config=config)
        except Exception as error:  # whatever the client of some provider raises
            return self._failed(error)
        self._answered, self._failures = True, 0
        return read_output(output, attempt.prefill)

    def _failed(self, error: Exception) -> Output:
        """A failed call as an output, unless no other call can do better.

        Raises:
            TargetLostError: the latter.
        """
        cause = _cause(error)
        told = " ".join(str(getattr(cause, "provider_message", None) or cause).split())
        status = next((s for e in _chain(cause) if (s := getattr(e, "status_code", None))), None)
        # a filter in front of a server may refuse single requests with 403
        if status == 401 or (status == 403 and not self._answered):
            raise self._lost(
                f"the key is refused ({told})",
                f"Set {KEY if self.base_url else 'the variable of the provider'} to a valid key",
            )
        if status == 404 and not self._answered:
            raise self._lost(
                f"there is no such model or address ({told})",
                "Give a model that the server knows, and a base URL up to and with its /v1",
            )
        problem = f"{type(cause).__name__}: {told}"
        late = status is None and _named(cause, "Timeout")
        gone = status in (502, 503, 504) or (status is None and _named(cause, "Connect"))
        if late or gone:
            self._failures += 1
            self._unreached += not late  # one hard request may be late, whatever the server
            if self._failures >= self.options.give_up:
                raise self._gone(problem)
        return _error(problem)

    def _gone(self, problem: str) -> TargetLostError:
        return self._lost(f"no server answers ({problem})", "Start it, or mend the base URL")

    def _lost(self, what: str, mend: str) -> TargetLostError:
        return TargetLostError(what, {}, where=self.base_url or self.name, mend=mend)

    def _config(self, sampling: Sampling, *, prefilled: bool) -> "GenerateConfig":
        from inspect_ai.model import GenerateConfig

        go_on = prefilled and self.options.prefill == "continue_final_message"
        return GenerateConfig(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=None if sampling.top_p == 1 else sampling.top_p,
            extra_body=GO_ON if go_on else None,
        )

    def connect(self) -> "Model":
        """The model's client; nothing is sent.

        Raises:
            CadaError: see `make_api_target`.
        """
        try:
            from inspect_ai._util.error import PrerequisiteError
            from inspect_ai.model import GenerateConfig, get_model
        except ModuleNotFoundError as error:
            raise CadaError(
                "models behind an API need inspect_ai",
                where=self.name,
                mend="Install it with: pip install 'cada-align[eval]'",
            ) from error
        config = GenerateConfig(
            seed=_SEED,
            max_connections=self.options.concurrency,
            max_retries=self.options.retries,
            attempt_timeout=self.options.timeout,
        )
        name, extra = self.name, dict[str, Any]()
        if self.base_url is not None:
            name = f"openai-api/{SERVICE}/{self.name.removeprefix(_OPENAI)}"
            # a server of one's own often wants no key, the client always does
            extra = {"base_url": self.base_url, "api_key": os.environ.get(KEY, "none")}
        try:
            model = get_model(name, config=config, memoize=False, **extra)
        except (PrerequisiteError, ValueError) as error:
            raise CadaError(
                plain(str(error)),
                where=self.name,
                mend="Set the variable, install the package, or name another model",
            ) from error
        client: Any = getattr(model.api, "client", None)
        if hasattr(client, "max_retries"):
            client.max_retries = 0  # inspect_ai retries, and one of them is enough
        return model


def to_messages(turns: Sequence[Turn], prefill: str = "") -> "list[ChatMessage]":
    """Turns as inspect_ai's messages; a prefill is the last one, of the assistant.

    Raises:
        CadaError: a turn is of an unknown role.
    """
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    kinds = {
        "system": ChatMessageSystem,
        "user": ChatMessageUser,
        "assistant": ChatMessageAssistant,
    }
    for turn in turns:
        if turn.role not in kinds:
            raise CadaError(
                f"no API takes the role {turn.role!r}", mend=f"Use one of {', '.join(kinds)}"
            )
    said = [kinds[turn.role](content=turn.content) for turn in turns]
    return [*said, ChatMessageAssistant(content=prefill)] if prefill else said


def read_output(output: "ModelOutput", prefill: str = "") -> Output:
    """What a model put out, with the reasoning that a server or inspect_ai took out put back.

    An answer that a provider's filter stopped is none.
    """
    if output.error or not output.choices:
        return _error(output.error or "an empty reply")
    choice = output.choices[0]
    tokens = output.usage.output_tokens if output.usage else 0
    reason = choice.stop_reason
    # inspect_ai gives a server's complaint of too long a prompt as a reply without tokens
    if reason in ("content_filter", "tool_calls") or (reason == "model_length" and not tokens):
        return _error(f"stopped by the provider ({reason}): {choice.message.text}")
    text = prefill + _whole(choice.message.content)
    return Output(text, tokens, "length" if reason in ("max_tokens", "model_length") else "stop")


def _whole(content: Any) -> str:
    if isinstance(content, str):
        return content
    text = "".join(part.text for part in content if part.type == "text")
    reasoning = "\n".join(part.reasoning for part in content if part.type == "reasoning").strip()
    if not reasoning or reasoning in text:  # where nothing is left, inspect_ai leaves it all there
        return text
    return render(reasoning, text, FormatStyle.THINK_TAGS)


def _error(problem: str) -> Output:
    return Output(None, 0, "error", " ".join(problem.split()))


def _cause(error: Exception) -> BaseException:
    """What made the last attempt fail, under the retries."""
    from tenacity import RetryError

    if isinstance(error, RetryError):
        return error.last_attempt.exception() or error
    return error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _named(error: BaseException, word: str) -> bool:
    """Whether a word is in the error's names: each provider's client has its own errors."""
    names = [kind.__name__ for each in _chain(error) for kind in type(each).__mro__]
    return any(word in name for name in names)
