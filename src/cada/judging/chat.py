"""Questions to a chat model over any API: concurrent, retried, cached on disk, and capped.

Calls go through inspect_ai's model layer (`pip install cada-align[eval]`), so every provider it
knows is a judge: `openai/gpt-4o-mini`, `anthropic/…`, `vllm/…`; and with `base_url` any server that
speaks OpenAI's protocol. Replies are untrusted text.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cada.config.judge import ChatOptions
from cada.errors import CadaError
from cada.files import append_json_line, drop_partial_line, read_json_lines
from cada.requests.types import Turn

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, Model

_SERVICE = "cada"  # inspect_ai's name for a server given by its address
_KEY = "CADA_API_KEY"
_LONGEST_WAIT = 60.0  # seconds
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Question:
    """A conversation to go on with; its roles are system, user and assistant.

    `draw` tells samples of one conversation apart: at a temperature above 0 another draw is
    another reply, and goes to the provider as its seed.
    """

    messages: tuple[Turn, ...]
    draw: int = 0

    def __post_init__(self) -> None:
        if wrong := {turn.role for turn in self.messages} - set(_ROLES):
            raise CadaError(
                f"a conversation holds the role {sorted(wrong)[0]!r}",
                where="messages",
                mend=f"Use {', '.join(_ROLES)}",
            )


@dataclass(frozen=True)
class Reply:
    """The model's text, or why there is none. `cached` replies cost nothing."""

    text: str | None
    problem: str | None = None
    cached: bool = False


@dataclass
class Bill:
    """What one question took: calls, retries counted, and their cost."""

    calls: int = 0
    cost: float = 0.0


@dataclass
class Usage:
    """What a chat model has cost so far; cached replies are counted apart."""

    calls: int = 0
    cached: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None


@dataclass
class ChatModel:
    """Asks one chat model; keeps the replies and the count of what they cost.

    `ledger`: the cache is one run's own. What failed stays failed there and what was spent counts
    on, so that a run that was killed goes on with the same replies, and under the same caps. With
    `ask_again` what failed is asked again when the run goes on.
    """

    options: ChatOptions
    ledger: bool = False
    ask_again: bool = False
    usage: Usage = field(default_factory=Usage)
    _known: dict[str, Reply] = field(default_factory=dict)
    _reserved: float = 0.0

    def __post_init__(self) -> None:
        if self.options.price is not None:
            self.usage.cost = 0.0
        if self.options.cache is None:
            return
        drop_partial_line(self.options.cache)
        for row in read_json_lines(self.options.cache):
            if row["text"] is not None or (self.ledger and not self.ask_again):
                self._known[row["key"]] = Reply(row["text"], row.get("problem"), cached=True)
            if self.ledger:
                self.usage.calls += row["calls"]
                if self.usage.cost is not None:
                    self.usage.cost += row["cost"] or 0.0

    def ask(self, prompts: Sequence[str | Question]) -> list[Reply]:
        """The replies to `prompts`, in their order; equal prompts are asked once.

        A text is a conversation of one user message.

        Raises:
            CadaError: inspect_ai or a provider's package is missing, or there is no API key.
        """
        return asyncio.run(self.ask_async(prompts))

    async def ask_async(self, prompts: Sequence[str | Question]) -> list[Reply]:
        """As `ask`, inside a running event loop."""
        keys = {prompt: self._key(prompt) for prompt in prompts}
        new = [prompt for prompt, key in keys.items() if key not in self._known]
        self.usage.cached += len(keys) - len(new)
        fresh: dict[str | Question, Reply] = {}
        if new:
            limit = asyncio.Semaphore(self.options.concurrency)
            async with self._connect() as model:
                replies = await asyncio.gather(*(self._one(model, p, limit) for p in new))
            fresh = dict(zip(new, replies, strict=True))
        return [fresh.get(prompt) or self._known[keys[prompt]] for prompt in prompts]

    async def _one(self, model: "Model", prompt: str | Question, limit: asyncio.Semaphore) -> Reply:
        bill = Bill()
        reply = await self._attempts(model, prompt, limit, bill)
        key = self._key(prompt)
        if reply.text is not None or self.ledger:
            self._known[key] = replace(reply, cached=True)
            if self.options.cache is not None:
                row = {"key": key, "text": reply.text, "problem": reply.problem}
                append_json_line(self.options.cache, row | asdict(bill))
        return reply

    async def _attempts(
        self, model: "Model", prompt: str | Question, limit: asyncio.Semaphore, bill: "Bill"
    ) -> Reply:
        from tenacity import (
            AsyncRetrying,
            RetryError,
            retry_if_exception_type,
            stop_after_attempt,
            wait_exponential_jitter,
        )

        attempts = AsyncRetrying(
            retry=retry_if_exception_type(RetryError),  # what inspect_ai thinks worth another try
            stop=stop_after_attempt(self.options.retries + 1),
            wait=wait_exponential_jitter(
                initial=self.options.wait, max=_LONGEST_WAIT, jitter=self.options.wait
            ),
            reraise=True,
        )
        async with limit:
            try:
                async for attempt in attempts:
                    with attempt:
                        if reason := self._spent(prompt):
                            return self._failed(reason)
                        return await self._call(model, prompt, bill)
            except RetryError as error:
                cause = error.last_attempt.exception()
                return self._failed(f"{type(cause).__name__}: {cause}")
            except Exception as error:  # whatever the client of some provider raises
                if getattr(error, "status_code", None) in (401, 403):
                    raise CadaError(
                        f"the key is refused ({' '.join(str(error).split())})",
                        where=self.options.base_url or self.options.model,
                        mend=f"Set {_KEY} or the provider's own variable to a valid key",
                    ) from error
                return self._failed(f"{type(error).__name__}: {error}")
        raise AssertionError("the retries neither returned nor raised")

    async def _call(self, model: "Model", prompt: str | Question, bill: "Bill") -> Reply:
        self.usage.calls += 1
        bill.calls += 1
        cost = reserved = self._largest_cost(prompt)  # what fails or tells no usage may cost most
        self._reserved += reserved
        try:
            output = await self._generate(model, prompt)
            if (used := output.usage) is not None:
                self.usage.input_tokens += used.input_tokens
                self.usage.output_tokens += used.output_tokens
                if self.options.price is not None:
                    cost = _cost((used.input_tokens, used.output_tokens), self.options.price)
        finally:
            self._reserved -= reserved
            bill.cost += cost
            if self.usage.cost is not None:
                self.usage.cost += cost
        if output.error or not output.completion:
            return self._failed(output.error or f"an empty reply ({output.stop_reason})")
        return Reply(output.completion)

    async def _generate(self, model: "Model", prompt: str | Question) -> Any:
        if isinstance(prompt, str):
            return await model.generate(prompt)
        from inspect_ai.model import GenerateConfig

        seed = prompt.draw if prompt.draw else None
        return await model.generate(_messages(prompt), config=GenerateConfig(seed=seed))

    def _failed(self, reason: str) -> Reply:
        self.usage.failed += 1
        return Reply(None, " ".join(reason.split()))

    def _spent(self, prompt: str | Question) -> str | None:
        """Why another call must not be made, if so."""
        if self.usage.calls >= self.options.max_calls:
            return f"the cap of {self.options.max_calls} calls is reached"
        if self.options.max_cost is not None and self.usage.cost is not None:
            most = self.usage.cost + self._reserved + self._largest_cost(prompt)
            if most > self.options.max_cost:
                return f"the cap of {self.options.max_cost:g} on the cost is reached"
        return None

    def _largest_cost(self, prompt: str | Question) -> float:
        """An upper bound: no tokenizer makes more tokens than there are bytes."""
        if self.options.price is None:
            return 0.0
        texts = [prompt] if isinstance(prompt, str) else [t.content for t in prompt.messages]
        most = sum(len(text.encode()) + 100 for text in texts)
        return _cost((most, self.options.max_tokens), self.options.price)

    def _key(self, prompt: str | Question) -> str:
        options = self.options
        named: list[Any] = [options.model, options.base_url, options.max_tokens]
        if isinstance(prompt, str):
            named += [prompt]
        else:
            named += [[[turn.role, turn.content] for turn in prompt.messages], prompt.draw]
        if options.temperature or options.top_p is not None:
            named += [options.temperature, options.top_p]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()

    def _connect(self) -> "Model":
        try:
            from inspect_ai._util.error import PrerequisiteError
            from inspect_ai.model import GenerateConfig, get_model
        except ModuleNotFoundError as error:
            raise CadaError(
                "chat models over an API need inspect_ai",
                where=self.options.model,
                mend="Install it with: pip install 'cada-align[eval]'",
            ) from error
        config = GenerateConfig(
            temperature=self.options.temperature,
            top_p=self.options.top_p,
            max_tokens=self.options.max_tokens,
            max_connections=self.options.concurrency,
            max_retries=0,
            attempt_timeout=self.options.timeout,
        )
        name, extra = self.options.model, dict[str, Any]()
        if self.options.base_url is not None:
            name = f"openai-api/{_SERVICE}/{self.options.model}"
            # a server of one's own often wants no key, the client always does
            extra = {"base_url": self.options.base_url, "api_key": os.environ.get(_KEY, "none")}
        try:
            model = get_model(name, config=config, memoize=False, **extra)
            client: Any = getattr(model.api, "client", None)
            if hasattr(client, "max_retries"):
                client.max_retries = 0  # or it would make calls that nobody counts
            return model
        except (PrerequisiteError, ValueError) as error:
            raise CadaError(
                _plain(str(error)),
                where=self.options.model,
                mend="Set the variable, install the package, or name another model",
            ) from error


def _messages(question: Question) -> "list[ChatMessage]":
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    kinds = dict(
        zip(_ROLES, (ChatMessageSystem, ChatMessageUser, ChatMessageAssistant), strict=True)
    )
    return [kinds[turn.role](content=turn.content) for turn in question.messages]


def _cost(tokens: tuple[int, int], price: tuple[float, float]) -> float:
    return sum(n * each for n, each in zip(tokens, price, strict=True)) / 1e6


def _plain(text: str) -> str:
    """One line of a message that inspect_ai wrote for a terminal."""
    from rich.text import Text

    return " ".join(Text.from_markup(text).plain.removeprefix("ERROR").split()).strip(": .")
