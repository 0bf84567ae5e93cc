"""Conversations to token ids, with the boundary up to which prompts are shared."""

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from cada.errors import CadaError
from cada.prompting.messages import Conversation
from cada.rollout.types import Prompt, Rollout

# Two requests that share no first character: what both renderings start with is the pack.
_PROBES = ("0", "Z")


class Encoder:
    """Encodes conversations with a tokenizer's chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._packs: dict[tuple[tuple[str, str], ...], tuple[int, ...]] = {}

    def encode(
        self, request_id: str, mode: str, conversation: Conversation, prefill: str = ""
    ) -> Prompt:
        """Token ids of the prompt, ready for an answer, split into pack and request.

        `prefill` is how the answer already begins.

        Raises:
            CadaError: the chat template rejects the conversation.
        """
        messages = [{"role": t.role, "content": t.content} for t in conversation.messages]
        ids = self._ids(messages, prefill)
        key = tuple((m["role"], m["content"]) for m in messages[:-1])
        if key not in self._packs:
            probes = [self._ids([*messages[:-1], {"role": "user", "content": p}]) for p in _PROBES]
            self._packs[key] = _common(probes[0], probes[1])
        pack = _common(self._packs[key], ids[:-1])
        return Prompt(request_id, mode, pack, ids[len(pack) :])

    def decode(self, ids: tuple[int, ...]) -> str:
        """Text of a completion, without its stop token."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def rollout(
        self,
        prompt: Prompt,
        tokens: Sequence[int],
        logprobs: Sequence[float],
        stop_ids: Sequence[int],
    ) -> Rollout:
        """What was sampled after a prompt; it stopped by itself if it ends with a stop token."""
        stopped = bool(tokens) and tokens[-1] in stop_ids
        return Rollout(
            prompt.request_id,
            prompt.mode,
            prompt.ids,
            tuple(tokens),
            tuple(logprobs),
            self.decode(tuple(tokens)),
            "stop" if stopped else "length",
        )

    def _ids(self, messages: list[dict[str, str]], prefill: str = "") -> tuple[int, ...]:
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise CadaError(
                f"the chat template rejects the conversation ({error})",
                where=str(self.tokenizer.name_or_path),
                mend="Put cases inline (prompting.cases_as: inline) or mend the template",
            ) from error
        return tuple(self.tokenizer(text + prefill, add_special_tokens=False)["input_ids"])


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return a[:n]
