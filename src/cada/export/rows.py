"""A phase's prompts, drawn as `cada align` draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cada.config.phase import Phase
from cada.export.scoring import Facts
from cada.requests.types import Request
from cada.rollout.conversations import Composer
from cada.training.draw import RequestStream, derive_seed

# The prompt mode with the request and nothing else.
BARE = "none"


@dataclass(frozen=True)
class Row:
    """One prompt: its chat messages, and what the reward must know of it.

    `source` and `kind` are for tables; `step` is the phase's step that draws it, from 0.
    """

    facts: Facts
    messages: tuple[tuple[str, str], ...]
    source: str
    kind: str
    step: int

    @property
    def chat(self) -> list[dict[str, str]]:
        """The messages as chat templates take them."""
        return [{"role": role, "content": content} for role, content in self.messages]

    @property
    def ground_truth(self) -> str:
        """The request's label as a word."""
        return "harmful" if self.facts.harmful else "harmless"


def training_rows(
    composer: Composer, requests: Sequence[Request], phase: Phase, seed: int
) -> list[Row]:
    """The prompts of all the phase's steps, in order: steps × requests_per_step of them.

    They are the very prompts of `cada align`, cases included: an epoch over them in batches of
    `requests_per_step` is the phase.

    Raises:
        CadaError: there is no request of a kind that the phase asks for.
    """
    stream = RequestStream(requests, seed)
    stream.check([phase])
    rows = []
    for step in range(phase.steps):
        own = derive_seed(seed, phase.name, step)
        rows += [
            _row(composer, request, str(phase.rollout_mode), own, step, sampling=True)
            for request in stream.draw(phase, step)
        ]
    return rows


def validation_rows(
    composer: Composer, sets: Mapping[str, Sequence[Request]], seed: int
) -> list[Row]:
    """The requests of the recipe's before/after table, bare, a source a set."""
    return [
        _row(composer, request, BARE, seed, 0, source=name)
        for name, requests in sets.items()
        for request in requests
    ]


def _row(
    composer: Composer,
    request: Request,
    mode: str,
    seed: int,
    step: int,
    *,
    sampling: bool = False,
    source: str | None = None,
) -> Row:
    conversation = composer.conversation(request, mode, seed, sampling=sampling)
    facts = Facts(
        id=request.id,
        request=request.text,
        harmful=request.harmful,
        hazard=request.hazard,
        shown=composer.shown(request, mode, seed, sampling=sampling),
        code=composer.code(request, mode),
    )
    messages = tuple((turn.role, turn.content) for turn in conversation.messages)
    return Row(facts, messages, source or request.source, request.kind, step)
