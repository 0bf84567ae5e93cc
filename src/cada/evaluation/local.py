"""A model in memory as the target of an evaluation."""

from collections.abc import Sequence

from cada.attacks.types import Attempt
from cada.evaluation.targets import CASES_SEED, Output
from cada.models.load import Policy
from cada.rollout.prompts import Prompter
from cada.rollout.transformers_engine import make_engine
from cada.rollout.types import Engine, Sampling

# Completions decoded at once.
_ROWS = 128


class LocalTarget:
    """A model in memory, on our own rollout engine: packs and requests are computed once."""

    def __init__(self, policy: Policy, prompter: Prompter, engine: Engine | None = None) -> None:
        self.name = policy.source
        self.style = prompter.style
        self.policy = policy
        self.prompter = prompter
        self.engine = engine or make_engine(policy, _ROWS)

    def answer(self, attempts: Sequence[Attempt], mode: str, sampling: Sampling) -> list[Output]:
        """One answer to each attempt under a prompt mode, in their order."""
        prompts = [
            self.prompter.prompt(a.sent, mode, CASES_SEED, prefill=a.prefill) for a in attempts
        ]
        groups = self.engine.generate(prompts, 1, sampling, seed=0)
        return [
            Output(a.prefill + r.text, len(r.completion_ids), r.finish_reason)
            for a, (r,) in zip(attempts, groups, strict=True)
        ]
