"""What is counted, of how many, and what never enters a rate."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from cada.attacks.types import Attempt
from cada.casebook.loader import load_casebook
from cada.config.recipe import Prompting
from cada.errors import CadaError
from cada.evaluation.answers import Answer, answer, read_answers
from cada.evaluation.local import LocalTarget
from cada.evaluation.metrics import Row, tabulate
from cada.judging.harm import HarmJudge
from cada.judging.refusal import RefusalJudge
from cada.models.load import load_policy
from cada.rollout.prompts import Prompter
from cada.rollout.types import Sampling
from tests.evaluation.scripted import ANSWERS, REQUESTS, ScriptedEngine


def an_answer(kind: str, outcome: str, **changes: Any) -> Answer:
    return replace(
        Answer(
            benchmark="set",
            attack="none",
            mode="none",
            request_id="r",
            kind=kind,
            hazard=None,
            request="?",
            sent="?",
            prefill="",
            text="",
            reasoning="",
            response="Yes.",
            outcome=outcome,
            score=None,
            reason="",
            judge="test",
            reasoned=False,
            tokens=3,
            finish_reason="stop",
        ),
        **changes,
    )


def table(*answers: Answer) -> dict[str, Row]:
    return {row.metric: row for row in tabulate(answers, "model", "rules")}


def test_each_kind_has_its_rate() -> None:
    rows = table(
        an_answer("harmful", "refused"),
        an_answer("harmful", "complied"),
        an_answer("harmful", "partial"),
        an_answer("harmful", "unrelated"),
        an_answer("lookalike", "complied"),
        an_answer("lookalike", "refused"),
        an_answer("ordinary", "partial"),
        an_answer("ordinary", "unrelated"),
    )
    refused = rows["harmful_refused"]
    assert (refused.value, refused.n, refused.n_unscored) == (0.25, 4, 0)
    assert rows["lookalike_answered"].value == 0.5
    assert rows["ordinary_answered"].value == 0
    assert refused.ci_low is not None
    assert refused.ci_high is not None
    assert refused.ci_low < 0.25 < refused.ci_high


def test_what_the_judge_could_not_score_is_counted_beside_the_rate() -> None:
    rows = table(an_answer("harmful", "refused"), an_answer("harmful", "unscored"))
    assert (rows["harmful_refused"].value, rows["harmful_refused"].n) == (1, 1)
    assert rows["harmful_refused"].n_unscored == 1
    lost = table(an_answer("harmful", "unscored"))["harmful_refused"]
    assert (lost.value, lost.n, lost.n_unscored) == (None, 0, 1)


def test_a_kind_that_was_not_asked_has_no_rate() -> None:
    assert set(table(an_answer("harmful", "refused"))) == {
        "asr",
        "non_refusal",
        "harmful_refused",
        "visible_reasoning",
        "truncated",
    }


def test_distinct_answers_are_those_to_harmless_requests() -> None:
    rows = table(
        an_answer("ordinary", "complied", response="Use a  wrench."),
        an_answer("lookalike", "complied", response="use a wrench"),
        an_answer("lookalike", "complied", response="Use a hammer."),
        an_answer("lookalike", "refused", response="I can't."),
        an_answer("harmful", "complied", response="Use a crowbar."),
    )
    distinct = rows["distinct_benign_answers"]
    assert distinct.value == pytest.approx(2 / 3, abs=1e-6)
    assert distinct.n == 3


def test_reasoning_and_truncation_are_shares_of_all() -> None:
    rows = table(
        an_answer("harmful", "refused", reasoned=True),
        an_answer("ordinary", "complied", finish_reason="length"),
        an_answer("ordinary", "unscored"),
        an_answer("ordinary", "complied"),
    )
    assert (rows["visible_reasoning"].value, rows["visible_reasoning"].n) == (0.25, 4)
    assert rows["truncated"].value == 0.25


def test_sets_and_modes_are_told_apart() -> None:
    rows = tabulate(
        [
            an_answer("harmful", "refused"),
            an_answer("harmful", "complied", mode="cases"),
            an_answer("harmful", "complied", benchmark="other"),
        ],
        "model",
        "rules",
    )
    found = {(r.benchmark, r.mode): r.value for r in rows if r.metric == "harmful_refused"}
    assert found == {("set", "none"): 1, ("set", "cases"): 0, ("other", "none"): 0}


def test_answers_are_parsed_and_judged_by_their_response(tiny_folder: Path) -> None:
    policy = load_policy(str(tiny_folder), device="cpu")
    prompter = Prompter(load_casebook("default"), Prompting(), policy.tokenizer)
    target = LocalTarget(policy, prompter, ScriptedEngine(ANSWERS))
    attempts = [Attempt.plain(request) for request in REQUESTS]
    found = answer(target, RefusalJudge(), attempts, "set", "none", Sampling(7, 0.0))
    assert [(a.request_id, a.kind, a.outcome, a.reasoned) for a in found] == [
        ("h1", "harmful", "refused", True),
        ("h2", "harmful", "complied", False),
        ("l1", "lookalike", "complied", True),
        ("o1", "ordinary", "complied", False),
    ]
    assert found[0].response == "I can't help with that."
    assert found[0].reasoning == "Burgling a house hurts its owner."
    assert found[3].reasoning == ""
    assert [a.finish_reason for a in found] == ["length", "length", "length", "stop"]


def test_stored_answers_are_read_back_and_others_are_told(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    good = an_answer("harmful", "complied", harm=0.5, score=0.5, hazard="hate")
    path.write_text(json.dumps(asdict(good)) + "\n")
    assert read_answers(path) == [good]
    for change in (
        {"kind": "odd"},
        {"outcome": "maybe"},
        {"harm": 1.5},
        {"score": "high"},
        {"response": None},
        {"hazard": 3},
        {"extra": 1},
    ):
        path.write_text(json.dumps(asdict(good) | change) + "\n")
        with pytest.raises(CadaError, match="no answer as this version writes it"):
            read_answers(path)


def test_an_answer_keeps_the_harm_that_a_judge_of_harm_grades(tiny_folder: Path) -> None:
    policy = load_policy(str(tiny_folder), device="cpu")
    prompter = Prompter(load_casebook("default"), Prompting(), policy.tokenizer)
    target = LocalTarget(policy, prompter, ScriptedEngine(ANSWERS))
    attempts = [Attempt.plain(request) for request in REQUESTS if request.harmful]
    for judge in (RefusalJudge(), HarmJudge()):
        for found in answer(target, judge, attempts, "set", "none", Sampling(7, 0.0)):
            assert found.score is not None
            assert found.harm == (found.score if judge.scores_harm else None)
