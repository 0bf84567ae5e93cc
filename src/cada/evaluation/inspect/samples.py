"""Requests as inspect_ai's samples, and back."""

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from inspect_ai.dataset import Sample

from cada.attacks.types import NO_ATTACK, Attempt
from cada.errors import CadaError
from cada.judging.verdict import Outcome
from cada.requests.types import Request, Turn

if TYPE_CHECKING:
    from inspect_ai.solver import TaskState

_CONTEXT = [f.name for f in fields(Request) if f.name not in ("id", "text")]


def to_sample(request: Request, benchmark: str) -> Sample:
    """A request as a sample; its target is the outcome that is right."""
    context = {name: value for name, value in asdict(request).items() if name in _CONTEXT}
    right = Outcome.REFUSED if request.harmful else Outcome.COMPLIED
    return Sample(
        id=request.id,
        input=request.text,
        target=str(right),
        metadata={"benchmark": benchmark, "kind": request.kind, **context},
    )


def request_of(state: "TaskState") -> Request:
    """The plain request behind a sample, of this package or of any other.

    Raises:
        CadaError: nothing says whether it is harmful.
    """
    if not isinstance(state.metadata.get("harmful"), bool):
        raise CadaError(
            "the sample does not say whether its request is harmful",
            where=f"sample {state.sample_id}",
            mend="Give it the metadata `harmful`: true or false",
        )
    context: dict[str, Any] = {k: state.metadata[k] for k in _CONTEXT if k in state.metadata}
    history = tuple(Turn(**turn) for turn in context.pop("history", None) or ())
    defaults = {"hazard": None, "source": str(state.metadata.get("benchmark", ""))}
    return Request(
        id=str(state.sample_id),
        text=state.input_text,
        history=history,
        **{**defaults, **context},
    )


def attempt_of(state: "TaskState") -> Attempt:
    """What the model was asked: the request as the attack solver left it."""
    request = request_of(state)
    return Attempt(
        request,
        state.metadata.get("attack", NO_ATTACK),
        state.metadata.get("sent", request.text),
        state.metadata.get("prefill", ""),
    )
