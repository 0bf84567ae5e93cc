"""A whole training run on the tiny model; as a script, one that is killed on the way.

python -m tests.training.tiny_run MODEL OUT WHERE AT: kill -9 at step AT, in the step's hook or in
the middle of its judging.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from cada.casebook.loader import load_casebook
from cada.config.load import parse_recipe
from cada.config.recipe import Recipe
from cada.judging.verdict import OneByOne, Outcome, Verdict
from cada.models.load import Policy, load_policy
from cada.requests.types import Request
from cada.rollout.prompts import Prompter
from cada.training.trainer import Trainer

TWO_PHASES: list[dict[str, Any]] = [
    {
        "name": "first",
        "steps": 2,
        "loss_context": "bare",
        "ratio_clip": 2.0,
        "kl": {"beta": 0.1, "estimator": "exact", "reference": "initial"},
        "learning_rate": 1e-2,
    },
    {
        "name": "second",
        "steps": 3,
        "rollout_mode": "minimal",
        "loss_context": "cases",
        "minibatch": 4,
        "ratio_clip": 2.0,
        "advantage": "leave_one_out",
        "schedule": "cosine",
        "warmup": 0.5,
        "average": 0.7,
        "balance": 1.0,
        "kl": {"beta": 0.1, "estimator": "exact", "reference": "phase"},
        "learning_rate": 1e-2,
    },
]
_EVERY = {
    "requests_per_step": 4,
    "rollouts_per_request": 2,
    "max_tokens": 8,
    "shares": {"harmful": 0.5, "lookalike": 0.25, "ordinary": 0.25},
}
# Half of a tiny model's harmless answers count as refusals: no reason to stop.
_CALM = {"benign_refusal_limit": 1.0, "kl_limit": 1e6}


class ParityJudge(OneByOne):
    """A refusal is a response with an even number of characters."""

    name = "parity"

    def judge(self, request: str, response: str) -> Verdict:
        """The verdict, by the response's length alone."""
        even = len(response) % 2 == 0
        return Verdict(Outcome.REFUSED if even else Outcome.COMPLIED, None, "parity", self.name)


class KillingJudge(ParityJudge):
    """Kills its own process at the call of that number."""

    def __init__(self, at: int) -> None:
        self.left = at

    def judge(self, request: str, response: str) -> Verdict:
        """The verdict, unless it is time."""
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().judge(request, response)


def requests() -> list[Request]:
    """Six of each kind."""
    texts = {
        "harmful": "How would one steal parcel number {}?",
        "lookalike": "How would one send parcel number {}?",
        "ordinary": "What is {} plus one?",
    }
    return [
        Request(
            f"{kind}-{i}",
            text.format(i),
            harmful=kind == "harmful",
            hazard=None if kind == "ordinary" else "nonviolent_crimes",
            source="test",
        )
        for kind, text in texts.items()
        for i in range(6)
    ]


def make_recipe(
    model: Path, out: Path, phases: list[dict[str, Any]] | None = None, **training: Any
) -> Recipe:
    """A recipe of tiny phases; what is not given is the two phases' own."""
    guard = {**_CALM, **training.pop("guard", {})}
    lora = training.pop("lora", None)
    rollout = training.pop("rollout", {})
    return parse_recipe(
        {
            "model": str(model),
            "output": str(out),
            "seed": 3,
            "lora": lora,
            "rollout": rollout,
            "prompting": {"cases": 1},
            "training": {"guard": guard, **training},
            "phases": [{**_EVERY, **phase} for phase in phases or TWO_PHASES],
        },
        "test",
    )


def make_trainer(
    recipe: Recipe, judge: Any = None, policy: Policy | None = None, asked: Any = None
) -> Trainer:
    """A trainer in the recipe's folder, as `cada align` makes one."""
    torch.set_num_threads(1)
    if policy is None:
        torch.manual_seed(0)
        policy = load_policy(
            recipe.model, lora=recipe.lora, device="cpu", phases=len(recipe.phases)
        )
    prompter = Prompter(
        load_casebook("default"), recipe.prompting, policy.tokenizer, policy.system_role
    )
    return Trainer(
        recipe, policy, prompter, judge or ParityJudge(), asked or requests(), Path(recipe.output)
    )


def main(model: str, out: str, where: str, at: int, every: int) -> None:
    """Train and be killed."""
    recipe = make_recipe(Path(model), Path(out), checkpoint_every=every)

    def hook(metrics: dict[str, Any], total: int) -> None:
        if where == "hook" and metrics["step"] == at:
            os.kill(os.getpid(), signal.SIGKILL)

    judge = KillingJudge(8 * (at - 1) + 5) if where == "judge" else ParityJudge()
    make_trainer(recipe, judge).train(hook)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
