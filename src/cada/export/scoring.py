"""The reward that another trainer calls: cada's own parse, judge and reward.

An exported folder's reward file holds no rule of its own. It reads the folder's recipe and asks
here, so that a change of the judge or of the reward changes both trainers.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from cada.config.load import load_recipe
from cada.config.recipe import Recipe
from cada.errors import CadaError
from cada.judging.make import ask_chat, make_judge
from cada.judging.rubric import ReasoningJudge
from cada.judging.verdict import Outcome
from cada.prompting.deliberation import Deliberation, FormatStyle, parse
from cada.requests.types import Request
from cada.reward import reasoned, reward

RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Facts:
    """What the reward must know of a prompt beside the output: the request and its label.

    `shown` holds the analyses of the cases in the prompt, which are not to be copied; `code` the
    short code, for a chat model that grades reasoning.
    """

    id: str
    request: str
    harmful: bool
    hazard: str | None
    shown: tuple[str, ...]
    code: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a row of a data set."""
        return {**asdict(self), "shown": list(self.shown)}

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> "Facts":
        """The facts in a row of a data set; other columns are passed over.

        Raises:
            CadaError: a column is missing or of another type.
        """
        try:
            facts = cls(**{name: row[name] for name in cls.__dataclass_fields__})
            shown = tuple(facts.shown)
        except (KeyError, TypeError) as error:
            raise CadaError(
                f"a row lacks what the reward needs ({error})",
                where="the exported data",
                mend="Use the data set of the same export, with all its columns",
            ) from error
        texts = (facts.id, facts.request, facts.code, *shown)
        if not isinstance(facts.harmful, bool) or not all(isinstance(t, str) for t in texts):
            raise CadaError(
                "a row's columns are of another type than they were written with",
                where=f"request {facts.id!r} of the exported data",
                mend="Use the data set of the same export as it is",
            )
        return cls(facts.id, facts.request, facts.harmful, facts.hazard, shown, facts.code)


@dataclass(frozen=True)
class Scored:
    """The reward of one output; `reward` is None when it is unscored, for the reason given."""

    reward: float | None
    outcome: Outcome
    reason: str
    reasoned: bool


class Scorer:
    """Rewards outputs as `cada align` would; safe to call from several threads."""

    def __init__(self, recipe: Recipe) -> None:
        """Raises CadaError when a classifier that the recipe names cannot be loaded."""
        self._style = FormatStyle(recipe.prompting.style)
        self._opens = recipe.prompting.verdict
        self._options = recipe.reward
        self._judge = make_judge(recipe.judge, device=recipe.device)
        judge = recipe.reward.judge
        self._grader = ReasoningJudge(ask_chat(judge)) if judge else None
        # Fast tokenizers refuse a second thread; calls over a network are best made side by side.
        self._lock: AbstractContextManager[Any] = nullcontext() if recipe.judge.chat else Lock()

    @classmethod
    def read(cls, folder: Path) -> "Scorer":
        """The scorer of an exported folder."""
        return cls(load_recipe(folder / RECIPE))

    def score(self, outputs: Sequence[tuple[Facts, str]]) -> list[Scored]:
        """The rewards of (facts, the model's text), in their order."""
        parsed = [parse(text, self._style) for _, text in outputs]
        answers = [(f.request, d.response) for (f, _), d in zip(outputs, parsed, strict=True)]
        with self._lock:
            verdicts = self._judge.judge_all(answers)
        test = self._options.reasoning
        scored = []
        for (facts, _), parts, verdict in zip(outputs, parsed, verdicts, strict=True):
            request = Request(facts.id, facts.request, facts.harmful, facts.hazard, "export")
            value = reward(request, parts, verdict, test, opens=self._opens, shown=facts.shown)
            is_reasoned = reasoned(request, parts, test, facts.shown)
            scored.append(Scored(value, verdict.outcome, verdict.reason, is_reasoned))
        return self._graded([facts for facts, _ in outputs], parsed, scored)

    def _graded(
        self, facts: list[Facts], parsed: list[Deliberation], scored: list[Scored]
    ) -> list[Scored]:
        """Ask about the reasoning of what earned +1; too low a grade earns 0, none no reward."""
        if self._grader is None:
            return scored
        at = [n for n, item in enumerate(scored) if item.reward == 1]
        asked = [
            (facts[n].request, facts[n].code, parsed[n].reasoning, parsed[n].response) for n in at
        ]
        done = list(scored)
        for n, grade in zip(at, self._grader.grade_all(asked), strict=True):
            value = None
            if grade.value is not None:
                value = 1.0 if grade.value >= self._options.quality else 0.0
            reason = scored[n].reason if value is not None else grade.reason
            done[n] = Scored(value, scored[n].outcome, reason, scored[n].reasoned)
        return done
