"""Baselines in recipes: what fits together, and what is told of the rest."""

from typing import Any

import pytest

from cada.config.load import parse_recipe
from cada.config.phase import RolloutMode
from cada.errors import CadaError

PHASE = {"name": "p", "steps": 1, "loss_context": "cases"}


def test_a_baseline_is_one_stage_that_learns_on_the_bare_request() -> None:
    recipe = parse_recipe(
        {"baseline": {"kind": "sft", "requests": 40, "benign_share": 0.5, "batch": 8}}, "test"
    )
    (stage,) = recipe.stages
    assert (stage.name, stage.loss_context, stage.minibatch) == ("sft", "bare", 8)
    assert stage.rollout_mode is RolloutMode.CASES
    assert stage.shares.model_dump() == {"harmful": 0.5, "lookalike": 0.35, "ordinary": 0.15}
    assert parse_recipe({"phases": [PHASE]}, "test").stages[0].name == "p"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "phases or baseline"),
        ({"phases": [PHASE], "baseline": {"kind": "sft"}}, "phases or baseline"),
        ({"baseline": {"kind": "dpo", "data": "direct_refusal"}}, "data: chains"),
        ({"baseline": {"kind": "dpo", "filter": "refused_and_reasoned"}}, "by the reward"),
        ({"baseline": {"kind": "sft", "filter": "reasoning"}}, "baseline.judge"),
        ({"baseline": {"kind": "sft", "judge": {"model": "m"}}}, "baseline.judge"),
        ({"baseline": {"kind": "sft", "filer": "none"}}, "Did you mean 'filter'"),
    ],
)
def test_what_does_not_fit_is_told(data: dict[str, Any], expected: str) -> None:
    with pytest.raises(CadaError) as error:
        parse_recipe(data, "test")
    assert expected in str(error.value)
