"""A conversation with a policy."""

from cada.casebook.loader import load_casebook
from cada.config.recipe import Prompting
from cada.models.load import load_policy
from cada.prompting.deliberation import Deliberation, parse
from cada.requests.types import Request, Turn
from cada.rollout.prompts import Prompter
from cada.rollout.transformers_engine import make_engine
from cada.rollout.types import Sampling


class Chat:
    """Keeps the turns. Earlier answers are remembered without their reasoning."""

    def __init__(
        self,
        model: str,
        casebook: str,
        prompting: Prompting,
        mode: str,
        hazard: str | None,
        max_tokens: int,
        temperature: float,
    ) -> None:
        book = load_casebook(casebook)
        policy = load_policy(model)
        self._prompter = Prompter(book, prompting, policy.tokenizer, policy.system_role)
        self._engine = make_engine(policy)
        self._mode = mode
        self._hazard = hazard
        self._sampling = Sampling(max_tokens, temperature)
        self._turns: list[Turn] = []
        self._last: Deliberation | None = None

    def say(self, text: str) -> Deliberation:
        """Answer a message, with the conversation so far before it."""
        turns = len(self._turns)
        request = Request(f"turn-{turns}", text, False, self._hazard, "chat", None, (*self._turns,))
        prompt = self._prompter.prompt(request, self._mode, 0)
        ((rollout,),) = self._engine.generate([prompt], 1, self._sampling, seed=turns)
        self._last = parse(rollout.text, self._prompter.style)
        self._turns += [Turn("user", text), Turn("assistant", self._last.response)]
        return self._last

    def why(self) -> str:
        """The reasoning behind the last answer."""
        if self._last is None:
            return "Nothing has been answered yet."
        return self._last.reasoning or "The last answer came without visible reasoning."

    def reset(self) -> None:
        """Forget the conversation."""
        self._turns.clear()
        self._last = None
