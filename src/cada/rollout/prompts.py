"""From a request to a tokenised prompt, under any mode."""

from bisect import bisect_right
from dataclasses import replace
from typing import Any

from cada.casebook.schema import Case, Casebook
from cada.casebook.selection import select_cases
from cada.config.recipe import Prompting
from cada.judging.hazards import HazardClassifier
from cada.prompting.deliberation import HARMFUL, HARMLESS, Deliberation, FormatStyle
from cada.prompting.messages import Mode, PromptOptions, build
from cada.requests.types import Request
from cada.rollout.encode import Encoder
from cada.rollout.types import Prompt, Rollout

# Tokens within which an output says its verdict: the marker, the word and its full stop.
_LONGEST_OPENING = 12


class Prompter:
    """Builds prompts for one casebook, one set of options and one tokenizer."""

    def __init__(
        self, casebook: Casebook, options: Prompting, tokenizer: Any, system_role: bool = True
    ) -> None:
        self.casebook = casebook
        self.options = options
        self.style = FormatStyle(options.style)
        self.encoder = Encoder(tokenizer)
        self._system_role = system_role

    def prompt(
        self,
        request: Request,
        mode: str,
        seed: int,
        *,
        sampling: bool = False,
        prefill: str = "",
    ) -> Prompt:
        """The prompt of a request.

        Args:
            request: its hazard decides whose code and cases it sees.
            mode: one of the five prompt modes.
            seed: draws the cases; requests of one hazard share them under one seed.
            sampling: use what may help sampling alone, namely the hint and matched cases;
                elsewhere a pack is half refusing, half complying.
            prefill: how the answer already begins.
        """
        request = self._placed(request, mode)
        chosen = Mode(mode)
        cases = self._cases(request, seed, sampling) if chosen is Mode.CASES else ()
        options = PromptOptions(
            style=self.style,
            cases_as=self.options.cases_as,
            verdict=self.options.verdict,
            hint=self.options.hint and sampling,
            system_role=self._system_role,
        )
        conversation = build(request, chosen, self.casebook, cases, options)
        return self.encoder.encode(request.id, mode, conversation, prefill)

    def shown(
        self, request: Request, mode: str, seed: int, *, sampling: bool = False
    ) -> tuple[str, ...]:
        """The analyses of the cases that stand in such a prompt."""
        placed = self._placed(request, mode)
        cases = self._cases(placed, seed, sampling) if mode == Mode.CASES else ()
        return tuple(case.reasoning for case in cases)

    def code(self, request: Request, mode: str) -> str:
        """The short code that the request falls under, in such a prompt or anywhere."""
        hazards = {h.id: h.code.short for h in self.casebook.hazards}
        return hazards.get(self._placed(request, mode).hazard or "", self.casebook.code)

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

    def _placed(self, request: Request, mode: str) -> Request:
        """The request under the hazard that the classifier finds, where that is asked for."""
        if not self.options.classify or request.hazard is not None or mode == Mode.NONE:
            return request
        number = HazardClassifier.read().classify(request.text).number
        found = next((h.id for h in self.casebook.hazards if h.number == number), None)
        return replace(request, hazard=found)

    def _cases(self, request: Request, seed: int, sampling: bool) -> tuple[Case, ...]:
        share = self.options.refuse_share
        if share == "matched":
            share = (1.0 if request.harmful else 0.0) if sampling else 0.5
        return select_cases(self.casebook, request.hazard, self.options.cases, float(share), seed)
