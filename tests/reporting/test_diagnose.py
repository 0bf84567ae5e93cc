from pathlib import Path
from typing import Any

import pytest

from cada.config.phase import Kl, Phase, Shares
from cada.reporting.diagnose import Diagnosis, Level, diagnose
from cada.reporting.headline import headline
from cada.reporting.load import RunData
from cada.reporting.tables import comparison
from tests.reporting.runs import (
    answered,
    answers,
    changed,
    good_after,
    good_before,
    metrics,
    recipe,
    write_run,
)


def one(run: RunData, title: str) -> Diagnosis:
    found = [d for d in diagnose(run) if d.title == title]
    assert len(found) == 1, [d.title for d in diagnose(run)]
    return found[0]


def titles(run: RunData) -> list[str]:
    return [d.title for d in diagnose(run)]


def all_lines(**values: Any) -> list[dict[str, Any]]:
    return [line | values for line in metrics()]


def test_a_good_run_is_well(tmp_path: Path) -> None:
    (only,) = diagnose(write_run(tmp_path))
    assert (only.level, only.title) == (Level.GOOD, "All well")
    assert "harmful requests refused 0 % → 90 %" in only.text


def test_a_run_without_metrics_or_answers_is_diagnosed_from_its_table(tmp_path: Path) -> None:
    run = write_run(tmp_path, lines=[])
    (tmp_path / "answers-after.jsonl").unlink()
    assert titles(run) == ["All well"]


def test_refusals_without_reasoning(tmp_path: Path) -> None:
    run = write_run(tmp_path, after=answers(good_after, reasoned=False))
    found = one(run, "Direct refusals without reasoning")
    assert found.level is Level.BAD
    assert "Of 18 refusals of harmful requests only 0 % carry reasoning" in found.text
    assert "phases.distil.steps (it is 2)" in found.text


def test_without_a_distilling_phase_the_advice_is_to_add_one(tmp_path: Path) -> None:
    chosen = recipe(phases=[Phase(name="cada", steps=3, loss_context="cases")])
    run = write_run(tmp_path, after=answers(good_after, reasoned=False), chosen=chosen)
    assert "positive_only: true" in one(run, "Direct refusals without reasoning").text


@pytest.mark.parametrize(
    ("reasoned_before", "title", "level"),
    [
        (True, "The format was lost", Level.BAD),
        (False, "The format was not learnt", Level.WARN),
    ],
)
def test_the_format_is_missing_after_training(
    tmp_path: Path, reasoned_before: bool, title: str, level: Level
) -> None:
    run = write_run(
        tmp_path,
        before=answers(good_before, reasoned=reasoned_before),
        after=answers(good_after, reasoned=False),
    )
    assert one(run, title).level is level


def test_reasoning_that_fades_within_a_phase(tmp_path: Path) -> None:
    lines = metrics()
    for line, share in zip(lines, (0.2, 0.2, 0.9, 0.8, 0.5), strict=True):
        line["reasoned"] = share
    found = one(write_run(tmp_path, lines=lines), "Reasoning faded during training")
    assert "In the phase reinforce" in found.text
    assert "from 90 % to 50 %" in found.text


def test_a_step_down_between_phases_is_no_fading(tmp_path: Path) -> None:
    lines = metrics()
    for line, share in zip(lines, (0.9, 0.9, 0.3, 0.3, 0.3), strict=True):
        line["reasoned"] = share
    assert titles(write_run(tmp_path, lines=lines)) == ["All well"]


def test_fewer_answers_to_look_alikes(tmp_path: Path) -> None:
    after = answers(lambda k, i: answered(k, i, refused=0.9, lookalike=0.4, ordinary=1.0))
    found = one(write_run(tmp_path, after=after), "Fewer answers to look-alikes")
    assert found.level is Level.BAD
    assert "95 % → 40 % of the look-alikes are answered" in found.text
    assert "phases.reinforce.kl.beta (it is 0.02)" in found.text


def test_a_small_fall_is_a_warning_that_names_the_doubt(tmp_path: Path) -> None:
    after = answers(lambda k, i: answered(k, i, refused=0.9, lookalike=0.95, ordinary=0.85))
    found = one(write_run(tmp_path, after=after), "Fewer answers to ordinary requests")
    assert found.level is Level.WARN
    assert "may be chance" in found.text


def test_no_benign_share_is_named_as_the_cause(tmp_path: Path) -> None:
    paper = Phase(
        name="cada",
        steps=3,
        loss_context="cases",
        shares=Shares(harmful=1, lookalike=0, ordinary=0),
    )
    after = answers(lambda k, i: answered(k, i, refused=1.0, lookalike=0.2, ordinary=0.5))
    run = write_run(tmp_path, after=after, chosen=recipe(phases=[paper]))
    assert "No harmless request is in phases.cada.shares" in diagnose(run)[0].text


def test_harm_that_stays(tmp_path: Path) -> None:
    found = one(write_run(tmp_path, after=answers(good_before)), "Harm is hardly down")
    assert found.level is Level.BAD
    after = answers(lambda k, i: answered(k, i, refused=0.6, lookalike=0.9, ordinary=1.0))
    halfway = one(write_run(tmp_path, after=after), "Harm is not down enough")
    assert halfway.level is Level.WARN


def test_no_rollout_earns_a_reward(tmp_path: Path) -> None:
    run = write_run(tmp_path, lines=all_lines(share_plus=0.004))
    found = one(run, "No signal: hardly any rollout earned +1")
    assert found.level is Level.BAD
    assert "Only 0.4% of the rollouts" in found.text
    assert "phases.distil.rollout_mode: cases" in found.text


def test_groups_without_signal_matter_where_rewards_are_centred_on_groups(tmp_path: Path) -> None:
    lines = all_lines(groups_without_signal=0.97, phase="cada")
    title = "No signal: all rollouts of a request agree"
    for advantage, expected in (("group", True), ("batch", False)):
        phase = Phase.model_validate(
            {"name": "cada", "steps": 5, "loss_context": "cases", "advantage": advantage}
        )
        run = write_run(tmp_path, lines=lines, chosen=recipe(phases=[phase]))
        assert (title in titles(run)) is expected


def test_skipped_steps_are_listed_with_their_cause(tmp_path: Path) -> None:
    lines = metrics()
    lines[3] |= {"skipped": 1, "share_plus": 1.0}
    found = one(write_run(tmp_path, lines=lines), "Steps were skipped")
    assert found.level is Level.WARN
    assert "1 of 5 steps" in found.text
    assert "(step 4)" in found.text
    assert "had earned +1 already" in found.text
    few = one(write_run(tmp_path, lines=all_lines(skipped=1)), "Steps were skipped")
    assert few.level is Level.BAD
    assert "rollouts_per_request" in few.text


def test_damage_shows_in_the_canary(tmp_path: Path) -> None:
    found = one(write_run(tmp_path, canary=(2.40, 2.60)), "The model was damaged")
    assert found.level is Level.BAD
    assert "from 2.40 to 2.60 nats a token (+0.20; the limit is 0.15)" in found.text
    assert titles(write_run(tmp_path, canary=(2.40, 2.54))) == ["All well"]


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("step 5: 92% of harmless requests are refused, over the limit of 85%", "kl.beta"),
        ("step 5: KL is 1.40 nats a token, over the limit of 1", "learning_rate"),
        ("step 5: grad_norm is not a finite number", "training.max_grad_norm"),
    ],
)
def test_a_rollback_comes_first_with_advice_for_its_cause(
    tmp_path: Path, reason: str, advice: str
) -> None:
    lines = metrics()
    lines[-1]["stopped"] = f"{reason}; rolled back to step-00003"
    first = diagnose(write_run(tmp_path, lines=lines))[0]
    assert first.title == "Training was stopped and rolled back"
    assert reason in first.text
    assert advice in first.text


def test_answers_and_rollouts_that_are_cut_off(tmp_path: Path) -> None:
    after = answers(good_after)
    for index in range(0, len(after), 2):
        after = changed(after, index, finish_reason="length")
    run = write_run(tmp_path, after=after)
    assert "50 % of the answers" in one(run, "Many answers were cut off").text
    assert "evaluation.max_tokens (it is 128)" in one(run, "Many answers were cut off").text
    run = write_run(tmp_path, lines=all_lines(truncated=0.4))
    assert "phases.reinforce.max_tokens (it is 96)" in one(run, "Many rollouts were cut off").text


def test_one_answer_for_all(tmp_path: Path) -> None:
    after = answers(good_after)
    for index, a in enumerate(after):
        if a.kind != "harmful":
            after = changed(after, index, response="It depends.")
    found = one(write_run(tmp_path, after=after), "Answers repeat themselves")
    assert found.level is Level.BAD


def test_answers_that_the_judge_failed_on(tmp_path: Path) -> None:
    after = answers(good_after)
    for index in range(6):
        after = changed(after, index, outcome="unscored")
    assert "failed on 6" in one(write_run(tmp_path, after=after), "Answers were left unjudged").text


def test_nan_in_the_metrics_does_not_hide_other_findings(tmp_path: Path) -> None:
    lines = all_lines(share_plus=0.0)
    lines[-1] |= {"kl": float("nan"), "grad_norm": float("inf")}
    assert "No signal: hardly any rollout earned +1" in titles(write_run(tmp_path, lines=lines))


def test_the_headline_gives_the_figures_of_the_bare_request(tmp_path: Path) -> None:
    run = write_run(
        tmp_path,
        before=[*answers(good_after, mode="cases"), *answers(good_before)],
        after=[*answers(good_after, mode="cases"), *answers(good_after)],
    )
    top = headline(run, comparison(run.rows), diagnose(run))
    assert top.sentence == (
        "Harmful requests refused: 0 % → 90 %; look-alikes answered: 95 % → 90 %; "
        "ordinary requests answered: 100 % → 100 %"
    )
    assert top.verdict == "The model refuses harmful requests and still answers harmless ones."
    assert (top.level, top.mode) == (Level.GOOD, "none")


@pytest.mark.parametrize(
    ("refused", "lookalike", "verdict"),
    [
        (1.0, 0.3, "refuses harmful requests, but answers fewer look-alikes than before"),
        (0.0, 0.95, "goes on complying with harmful requests, but still answers harmless ones"),
        (0.0, 0.3, "goes on complying with harmful requests, and it answers fewer look-alikes"),
    ],
)
def test_the_verdict_says_what_is_wrong(
    tmp_path: Path, refused: float, lookalike: float, verdict: str
) -> None:
    after = answers(lambda k, i: answered(k, i, refused=refused, lookalike=lookalike, ordinary=1.0))
    run = write_run(tmp_path, after=after)
    top = headline(run, comparison(run.rows), diagnose(run))
    assert verdict in top.verdict
    assert top.level is Level.BAD


def test_the_verdict_tells_of_a_rollback(tmp_path: Path) -> None:
    lines = metrics()
    lines[-1]["stopped"] = "step 5: KL is 2.00 nats a token; rolled back to step-00003"
    chosen = recipe(phases=[Phase(name="reinforce", steps=5, loss_context="cases", kl=Kl(beta=0))])
    run = write_run(tmp_path, lines=lines, chosen=chosen)
    top = headline(run, comparison(run.rows), diagnose(run))
    assert "Training was stopped and rolled back. One finding below asks" in top.verdict
