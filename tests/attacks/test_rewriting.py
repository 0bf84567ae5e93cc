"""PAP and paraphrase against a scripted server."""

from typing import Any

import pytest

from cada.attacks import pap, paraphrase
from cada.attacks.made import Made, Unasked
from cada.attacks.rewriting import rewrite
from tests.attacks.scripted import Messages, Stage
from tests.evaluation.scripted import REQUESTS


def run(stage: Stage, instruction: str, **options: Any) -> list[Made | Unasked]:
    with stage.server.running():
        return rewrite(
            stage.chat("attacker", temperature=1.0), REQUESTS[:2], instruction, **options
        )


@pytest.mark.parametrize("name", pap.TECHNIQUES)
def test_pap_asks_once_for_each_request_with_the_techniques_definition(name: str) -> None:
    stage = Stage(attacker=lambda m, b: f"Here:\n<message>\nAs {m[-1][1][10:19]}.\n</message>")
    made = run(stage, pap.instruction(name))
    technique = pap.TECHNIQUES[name]
    assert len(stage.calls) == 2
    for request, (_, asked), rewritten in zip(REQUESTS, stage.calls, made, strict=False):
        assert [role for role, _ in asked] == ["system", "user"]
        for part in (technique.name, technique.definition, technique.example):
            assert part in asked[0][1]
        assert asked[0][1].startswith(pap.instruction(name))
        assert asked[1][1] == f"<request>\n{request.text}\n</request>"
        assert isinstance(rewritten, Made)
        assert rewritten == Made(f"As {request.text[:9]}.")


def test_the_instructions_differ() -> None:
    named = [pap.instruction(name) for name in pap.TECHNIQUES]
    assert len({*named, paraphrase.INSTRUCTION}) == 6


@pytest.mark.parametrize(
    "bad",
    ["I can't help with that.", "<message></message>", f"<message> {REQUESTS[0].text}\n</message>"],
)
def test_a_reply_without_a_new_message_is_followed_by_another_sample(bad: str) -> None:
    def attacker(said: Messages, body: dict[str, Any]) -> str:
        return bad if body["seed"] < 4 else "<message>fine</message>"

    few, enough = Stage(attacker=attacker), Stage(attacker=attacker)
    first = run(few, paraphrase.INSTRUCTION, seed=1, tries=2)[0]
    assert isinstance(first, Made)
    assert first.text == REQUESTS[0].text
    assert "no message in 2 tries" in str(first.problem)
    assert seeds(few) == [2, 3]
    assert run(enough, paraphrase.INSTRUCTION, seed=1, tries=3)[0] == Made("fine")
    assert seeds(enough) == [3, 4]


def seeds(stage: Stage) -> list[int]:
    return [b["seed"] for b in stage.server.bodies if REQUESTS[0].text in str(b)]


def test_who_does_not_answer_leaves_his_request_alone_unmade() -> None:
    stage = Stage(
        attacker=lambda m, b: 500 if REQUESTS[0].text in m[-1][1] else "<message>x</message>"
    )
    first, second = run(stage, paraphrase.INSTRUCTION)
    assert isinstance(first, Unasked)
    assert second == Made("x")
