"""From a request to the chat messages that ask it, under any mode; needs no tokenizer."""

from dataclasses import replace

from cada.casebook.schema import Case, Casebook
from cada.casebook.selection import another_hazard, select_cases
from cada.config.recipe import Prompting
from cada.judging.hazards import HazardClassifier
from cada.prompting.deliberation import FormatStyle
from cada.prompting.messages import Conversation, Mode, PromptOptions, build
from cada.requests.types import Request


class Composer:
    """Builds conversations for one casebook and one set of options.

    `system_role` is off for models that know no system message.
    """

    def __init__(self, casebook: Casebook, options: Prompting, system_role: bool = True) -> None:
        self.casebook = casebook
        self.options = options
        self.style = FormatStyle(options.style)
        self._system_role = system_role

    def conversation(
        self, request: Request, mode: str, seed: int, *, sampling: bool = False
    ) -> Conversation:
        """The conversation that asks a request.

        Args:
            request: its hazard decides whose code and cases it sees.
            mode: one of the five prompt modes.
            seed: draws the cases; requests of one hazard share them under one seed.
            sampling: use what may help sampling alone, namely the hint and matched cases;
                elsewhere a pack is half refusing, half complying.
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
        return build(request, chosen, self.casebook, cases, options)

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
        hazard = request.hazard
        if hazard is not None and self.options.cases_of == "other":
            hazard = another_hazard(self.casebook, hazard, seed)
        return select_cases(self.casebook, hazard, self.options.cases, float(share), seed)
