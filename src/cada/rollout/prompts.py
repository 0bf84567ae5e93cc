"""From a request to a tokenised prompt, under any mode."""

from bisect import bisect_right
from dataclasses import replace
from typing import Any

from cada.casebook.schema import Casebook
from cada.config.recipe import Prompting
from cada.prompting.deliberation import HARMFUL, HARMLESS, Deliberation
from cada.requests.types import Request
from cada.rollout.conversations import Composer
from cada.rollout.encode import Encoder
from cada.rollout.types import Prompt, Rollout

# Tokens within which an output says its verdict: the marker, the word and its full stop.
_LONGEST_OPENING = 12


class Prompter(Composer):
    """Builds prompts for one casebook, one set of options and one tokenizer."""

    def __init__(
        self, casebook: Casebook, options: Prompting, tokenizer: Any, system_role: bool = True
    ) -> None:
        super().__init__(casebook, options, system_role)
        self.encoder = Encoder(tokenizer)

    def prompt(
        self,
        request: Request,
        mode: str,
        seed: int,
        *,
        sampling: bool = False,
        prefill: str = "",
    ) -> Prompt:
        """The prompt of a request: its conversation (which see) as token ids.

        `prefill` is how the answer already begins.
        """
        conversation = self.conversation(request, mode, seed, sampling=sampling)
        return self.encoder.encode(request.id, mode, conversation, prefill)

    def with_prefill(self, rollout: Rollout, prompt: Prompt) -> Rollout:
        """A rollout whose prompt ended in a prefill, as one of the prompt without it.

        The prefill's tokens open the completion, with log-probability 0.
        """
        begun = rollout.prompt_ids[len(prompt.ids) :]
        ids = begun + rollout.completion_ids
        return replace(
            rollout,
            prompt_ids=prompt.ids,
            completion_ids=ids,
            logprobs=(0.0,) * len(begun) + rollout.logprobs,
            text=self.encoder.decode(ids),
        )

    def verdict_tokens(self, completion_ids: tuple[int, ...]) -> int:
        """How many tokens a completion opens with until its verdict is said; 0 if it says none."""
        if not self.options.verdict:
            return 0
        for n in range(1, min(len(completion_ids), _LONGEST_OPENING) + 1):
            text = self.encoder.decode(completion_ids[:n])
            if HARMFUL in text or HARMLESS in text:
                return n
        return 0

    def response_at(self, rollout: Rollout, deliberation: Deliberation) -> int | None:
        """The first token of the final response; None where a part of the output is missing."""
        text = rollout.text.rstrip()
        if not deliberation.complete or not text.endswith(deliberation.response):
            return None
        before = len(text) - len(deliberation.response)
        ids = rollout.completion_ids
        ends = range(1, len(ids) + 1)
        return bisect_right(ends, before, key=lambda n: len(self.encoder.decode(ids[:n])))
