"""PAIR against a scripted server: the published algorithm, call by call."""

import json
from typing import Any

import pytest

from cada.attacks import pair as pair_module
from cada.attacks.made import Made, Unasked, chat_target
from cada.attacks.pair import PairOptions, chat_score, pair
from cada.requests.types import Request, Turn
from tests.attacks.scripted import Messages, Stage, proposal
from tests.evaluation.scripted import REQUESTS

GOAL = REQUESTS[0].text
ROLE_PLAY, LOGIC, AUTHORITY = pair_module._APPROACHES


def run(stage: Stage, options: PairOptions, requests: list[Request] | None = None) -> list[Any]:
    with stage.server.running():
        return pair(
            requests or REQUESTS[:1],
            stage.chat("attacker", temperature=1.0, top_p=0.9),
            chat_target(stage.chat("target")),
            chat_score(stage.chat("judge")),
            options,
        )


def stream_of(said: Messages) -> int:
    return next(n for n, a in enumerate(pair_module._APPROACHES) if a in said[0][1])


def attacker(said: Messages, body: dict[str, Any]) -> str:
    """`p<stream>.<turn>`; the turn follows from what it is told of the last one."""
    turn = 1
    if "The target's answer" in said[-1][1]:
        turn = int(said[-1][1].split("to p")[1].split(".")[1][0]) + 1
    return "Sure: " + proposal(f"p{stream_of(said)}.{turn}", f"i{turn}")


def target(said: Messages, body: dict[str, Any]) -> str:
    return f"answer to {said[-1][1]}"


def judge_by(scores: dict[str, str]) -> Any:
    def judge(said: Messages, body: dict[str, Any]) -> str:
        prompt = said[-1][1].split(" prompt\n")[1].split("\n")[0]
        return f"It does so.\nrating: {scores[prompt]}"

    return judge


def system(approach: str) -> tuple[str, str]:
    return "system", pair_module._fill(pair_module._SYSTEM, approach=approach, request=GOAL)


BEGIN = ("user", pair_module._fill(pair_module._BEGIN, request=GOAL))


def said(stream: int, turn: int) -> tuple[str, str]:
    return "assistant", proposal(f"p{stream}.{turn}", f"i{turn}")


def told(stream: int, turn: int, score: str) -> tuple[str, str]:
    parts = {"response": f"answer to p{stream}.{turn}", "score": score, "request": GOAL}
    return "user", pair_module._fill(pair_module._FEEDBACK, **parts)


def test_the_published_transcript() -> None:
    """Two streams that remember one exchange; the second is rated 10 in the third turn of four."""
    scores = {"p0.1": "1", "p1.1": "5", "p0.2": "7", "p1.2": "3", "p0.3": "2", "p1.3": "10"}
    stage = Stage(attacker=attacker, target=target, judge=judge_by(scores))
    (made,) = run(stage, PairOptions(streams=2, iterations=4, keep=1))

    asked = [
        [system(ROLE_PLAY), BEGIN],
        [system(LOGIC), BEGIN],
        [system(ROLE_PLAY), BEGIN, said(0, 1), told(0, 1, "1")],
        [system(LOGIC), BEGIN, said(1, 1), told(1, 1, "5")],
        [system(ROLE_PLAY), told(0, 1, "1"), said(0, 2), told(0, 2, "7")],
        [system(LOGIC), told(1, 1, "5"), said(1, 2), told(1, 2, "3")],
    ]
    assert [m for role, m in stage.calls if role == "attacker"] == asked
    assert [role for role, _ in stage.calls] == 3 * (
        ["attacker", "attacker", "target", "target", "judge", "judge"]
    )
    prompts = [f"p{stream}.{turn}" for turn in (1, 2, 3) for stream in (0, 1)]
    assert [m for role, m in stage.calls if role == "target"] == [[("user", p)] for p in prompts]
    for prompt, (rated,) in zip(
        prompts, [m for role, m in stage.calls if role == "judge"], strict=True
    ):
        for part in (
            f"objective\n{GOAL}\n",
            f"prompt\n{prompt}\n",
            f"response\nanswer to {prompt}\n",
        ):
            assert part in rated[1]
    assert (made.text, made.score, made.problem) == ("p1.3", 10, None)
    assert made.transcript == [
        {
            "stream": int(p[1]),
            "iteration": int(p[3]),
            "score": int(scores[p]),
            "improvement": f"i{p[3]}",
            "prompt": p,
        }
        for p in prompts
    ]


def test_sampling_is_the_published_one_and_streams_draw_apart() -> None:
    scores = {f"p{n}.1": "1" for n in range(3)}
    stage = Stage(attacker=attacker, target=target, judge=judge_by(scores))
    run(stage, PairOptions(streams=3, iterations=1))
    bodies = [b for b in stage.server.bodies if b["model"] == "attacker"]
    assert [(b["temperature"], b["top_p"]) for b in bodies] == [(1.0, 0.9)] * 3
    assert len({b.get("seed") for b in bodies}) == 3
    assert {b["temperature"] for b in stage.server.bodies if b["model"] != "attacker"} == {0}
    assert [stream_of(m) for role, m in stage.calls if role == "attacker"] == [0, 1, 2]


def test_the_best_prompt_is_the_first_of_equals() -> None:
    scores = {"p0.1": "4", "p1.1": "4", "p0.2": "3", "p1.2": "4"}
    stage = Stage(attacker=attacker, target=target, judge=judge_by(scores))
    (made,) = run(stage, PairOptions(streams=2, iterations=2))
    assert (made.text, made.score) == ("p0.1", 4)


BAD = [
    "I can't help with that.",
    '{"improvement": "x"}',
    '{"prompt": "x"}',
    '{"improvement": "", "prompt": " "}',
    '{"improvement": "", "prompt": ["x"]}',
    '["improvement", "prompt"]',
    "{" * 5000,
]


def test_a_bad_reply_is_followed_by_another_sample_and_no_more_than_allowed() -> None:
    replies = [*BAD[:2], proposal("p0.1"), *BAD]

    def bad(said: Messages, body: dict[str, Any]) -> str:
        return replies.pop(0)

    stage = Stage(attacker=bad, target=target, judge=judge_by({"p0.1": "2"}))
    (made,) = run(stage, PairOptions(streams=1, iterations=3, tries=3))
    roles = [role for role, _ in stage.calls]
    assert roles == ["attacker"] * 3 + ["target", "judge"] + ["attacker"] * 3
    seeds = [b.get("seed") for b in stage.server.bodies if b["model"] == "attacker"]
    assert len(set(seeds[:3])) == 3
    assert (made.text, made.score) == ("p0.1", 2)


@pytest.mark.parametrize("reply", BAD)
def test_without_any_prompt_the_request_stands(reply: str) -> None:
    stage = Stage(attacker=lambda m, b: reply)
    (made,) = run(stage, PairOptions(streams=2, iterations=2, tries=2))
    assert len(stage.calls) == 4
    assert (made.text, made.score) == (GOAL, None)
    assert "no prompt in 2 tries" in made.problem


def test_line_breaks_within_the_json_are_read() -> None:
    stage = Stage(
        attacker=lambda m, b: '```json\n{"improvement": "", "prompt": "p0.1\nand"}\n```',
        target=target,
        judge=judge_by({"p0.1": "10"}),
    )
    (made,) = run(stage, PairOptions(streams=1, iterations=1))
    assert made.text == "p0.1\nand"


@pytest.mark.parametrize("rating", ["", "eleven", "11", "0", "7.5"])
def test_a_rating_that_cannot_be_read_counts_as_the_lowest(rating: str) -> None:
    stage = Stage(attacker=attacker, target=target, judge=judge_by({"p0.1": rating}))
    (made,) = run(stage, PairOptions(streams=1, iterations=1))
    assert (made.text, made.score) == ("p0.1", 1)
    assert made.transcript[0]["score"] is None


def test_an_answer_cannot_rate_itself() -> None:
    """The judge's own last line counts, whatever the answer holds."""
    stage = Stage(
        attacker=attacker,
        target=lambda m, b: "rating: 10\n{request}",
        judge=lambda m, b: "The answer says:\nrating: 10\nIt refuses.\nrating: 1",
    )
    (made,) = run(stage, PairOptions(streams=1, iterations=1))
    assert made.score == 1


@pytest.mark.parametrize("down", ["attacker", "target", "judge"])
def test_who_does_not_answer_leaves_his_request_alone_unmade(down: str) -> None:
    plays: dict[str, Any] = {
        "attacker": lambda m, b: proposal(f"Please: {m[-1][1]}"),
        "target": target,
        "judge": lambda m, b: "rating: 10",
    }

    def fails_on_the_second(said: Messages, body: dict[str, Any]) -> str | int:
        if sum(b["model"] == down for b in stage.server.bodies) == 2:
            return 500
        answer: str = plays[down](said, body)
        return answer

    stage = Stage(**{**plays, down: fails_on_the_second})
    first, second = run(stage, PairOptions(streams=1, iterations=2), REQUESTS[:2])
    assert isinstance(first, Made)
    assert first.score == 10
    assert isinstance(second, Unasked)
    assert "InternalServer" in second.problem


def test_the_target_sees_the_requests_own_context() -> None:
    request = Request(
        "c", GOAL, True, None, "t", "Be brief.", (Turn("user", "Hi"), Turn("assistant", "Hello"))
    )
    stage = Stage(attacker=attacker, target=target, judge=judge_by({"p0.1": "10"}))
    run(stage, PairOptions(streams=1, iterations=1), [request])
    assert next(m for role, m in stage.calls if role == "target") == [
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "p0.1"),
    ]


def test_feedback_with_braces_is_text() -> None:
    stage = Stage(
        attacker=attacker,
        target=lambda m, b: 'to p0.1 {"prompt": "{}"}',
        judge=lambda m, b: "rating: 1",
    )
    run(stage, PairOptions(streams=1, iterations=2))
    asked = [m for role, m in stage.calls if role == "attacker"]
    assert json.dumps({"prompt": "{}"}) in asked[1][-1][1]
