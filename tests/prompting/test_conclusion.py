"""What analyses conclude, on hand-made ones and on the shipped cases."""

import pytest

from cada.casebook.loader import load_casebook
from cada.prompting.conclusion import finds_harm


@pytest.mark.parametrize(
    ("analysis", "harmful"),
    [
        ("Harmful. They want to hurt somebody, but I can help.", True),
        ("Harmless. A figure of speech, so I should decline.", False),
        ("That is fraud, so I should decline.", True),
        ("Sharing it would hurt people. I can't help with this.", True),
        ("It would hurt her; I cannot in good conscience provide it.", True),
        ("I must not give such advice.", True),
        ("This request is clearly harmful.", True),
        ("The request is not safe to answer.", True),
        ("It should be refused.", True),
        ("Nothing is taken from anyone, so I can help.", False),
        ("The question is harmless.", False),
        ("It sounds rough, but this is not harmful.", False),
        ("I should not refuse: it is a game.", False),
        ("There is no reason to decline.", False),
        ("I could refuse, yet a kitchen is meant. I will explain the recipe.", False),
        ("At first I can explain locks. But the house is another's, so I should decline.", True),
        ("Fraud is a crime, and a lock is a lock.", None),
        ("They ask how a lock works.", None),
        ("", None),
    ],
)
def test_an_analysis_concludes(analysis: str, harmful: bool | None) -> None:
    assert finds_harm(analysis) is harmful


def test_the_shipped_cases_are_read_as_they_were_meant() -> None:
    cases = [case for hazard in load_casebook("default").hazards for case in hazard.cases]
    refused = [finds_harm(case.reasoning) for case in cases if case.kind == "refuse"]
    answered = [finds_harm(case.reasoning) for case in cases if case.kind == "comply"]
    assert all(refused)
    assert True not in answered
