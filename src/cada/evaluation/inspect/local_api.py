"""The provider's model: concurrent calls are answered in batches by our rollout engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
)

from cada.errors import CadaError
from cada.evaluation.inspect.batches import Batcher
from cada.evaluation.inspect.names import told_in_one_line
from cada.models.load import Policy, load_policy
from cada.prompting.messages import Conversation
from cada.requests.types import Turn
from cada.rollout.encode import Encoder
from cada.rollout.transformers_engine import make_engine
from cada.rollout.types import Engine, Prompt, Rollout, Sampling

_ROWS = 128  # completions decoded at once, as in `cada evaluate`
_LONGEST = 512  # tokens, where nobody says
_UNHEEDED = (
    "stop_seqs",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "num_choices",
    "logprobs",
    "response_schema",
)


@lru_cache(maxsize=1)
def _loaded(model: str, device: str | None) -> tuple[Policy, Engine]:
    """A model and its engine; inspect_ai makes a second provider to look a model's facts up."""
    policy = load_policy(model, device=device)
    return policy, make_engine(policy, _ROWS)


@dataclass(frozen=True)
class _Call:
    prompt: Prompt
    sampling: Sampling
    seed: int


class LocalAPI(ModelAPI):
    """A hub id, a folder, a `.gguf` file or the built-in model, in memory.

    A last message of the assistant is a prefill: the answer goes on from it.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        with told_in_one_line():
            self.policy, self.engine = _loaded(model_name, device)
        self.encoder = Encoder(self.policy.tokenizer)
        self._ask: Batcher[_Call, Rollout] = Batcher(self._run)

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[Any],
        tool_choice: Any,
        config: GenerateConfig,
    ) -> ModelOutput:
        """One completion.

        Raises:
            CadaError: tools, parts that are no text, or an option that the engine does not heed.
        """
        unheeded = [name for name in _UNHEEDED if getattr(config, name) is not None]
        if tools or unheeded:
            what = "tools" if tools else unheeded[0]
            raise CadaError(f"models in memory know no {what}", where=self.model_name)
        conversation, prefill = self._conversation(input)
        sampling = Sampling(
            config.max_tokens or _LONGEST,
            1.0 if config.temperature is None else config.temperature,
            1.0 if config.top_p is None else config.top_p,
        )
        prompt = self.encoder.encode("", "", conversation, prefill)
        rollout = await self._ask(_Call(prompt, sampling, config.seed or 0))
        n, m = len(rollout.prompt_ids), len(rollout.completion_ids)
        return ModelOutput(
            model=self.model_name,
            choices=[
                ChatCompletionChoice(
                    message=ChatMessageAssistant(content=rollout.text, source="generate"),
                    stop_reason="stop" if rollout.finish_reason == "stop" else "max_tokens",
                )
            ],
            usage=ModelUsage(input_tokens=n, output_tokens=m, total_tokens=n + m),
        )

    async def count_text_tokens(self, text: str) -> int:
        """By the model's own tokenizer; inspect_ai's would be fetched from the network."""
        return len(self.policy.tokenizer(text, add_special_tokens=False)["input_ids"])

    def max_connections(self) -> int:
        """As many calls at a time as rows in a batch."""
        return _ROWS

    def connection_key(self) -> str:
        """Each model has its own queue."""
        return str(self.model_name)

    def _conversation(self, messages: list[ChatMessage]) -> tuple[Conversation, str]:
        """The messages up to the request, and the prefill after it."""
        turns = [Turn(message.role, message.text) for message in messages]
        prefill = turns.pop().content if len(turns) > 1 and turns[-1].role == "assistant" else ""
        if turns[0].role == "system" and not self.policy.system_role:
            system = turns.pop(0).content
            first = next(i for i, turn in enumerate(turns) if turn.role == "user")
            turns[first] = Turn("user", f"{system}\n\n{turns[first].content}")
        return Conversation(tuple(turns), 0), prefill

    def _run(self, calls: Sequence[_Call]) -> list[Rollout]:
        """A batch; calls that sample alike share an engine's call."""
        done: dict[int, Rollout] = {}
        for sampling, seed in dict.fromkeys((c.sampling, c.seed) for c in calls):
            places = [i for i, c in enumerate(calls) if (c.sampling, c.seed) == (sampling, seed)]
            prompts = [calls[i].prompt for i in places]
            groups = self.engine.generate(prompts, 1, sampling, seed)
            done |= {i: group[0] for i, group in zip(places, groups, strict=True)}
        return [done[i] for i in range(len(calls))]
