from pathlib import Path
from typing import Any

from rich.console import Console

from cada.reporting.tables import comparison, markdown_table, rich_table
from tests.reporting.runs import answers, good_after, good_before, write_run


def row(model: str, metric: str, value: float | None, **changes: Any) -> dict[str, Any]:
    return {
        "model": model,
        "benchmark": "embedded",
        "attack": "none",
        "mode": "none",
        "metric": metric,
        "value": value,
        "ci_low": None if value is None else max(0.0, value - 0.05),
        "ci_high": None if value is None else value + 0.05,
        "n": 0 if value is None else 100,
        "n_unscored": 0,
        "judge": "rules",
    } | changes


def pair(metric: str, before: float | None, after: float | None, **changes: Any) -> list[Any]:
    return [row("before", metric, before, **changes), row("after", metric, after, **changes)]


def test_sets_and_modes_keep_their_order_and_the_canary_comes_last(tmp_path: Path) -> None:
    sides = [
        [*answers(outcome), *answers(outcome, mode="cases")]
        for outcome in (good_before, good_after)
    ]
    table = comparison(write_run(tmp_path / "run", before=sides[0], after=sides[1]).rows)
    places = list(dict.fromkeys((r.benchmark, r.mode) for r in table))
    assert places == [("embedded", "none"), ("embedded", "cases"), ("canary", "none")]
    assert [r.name for r in table if (r.benchmark, r.mode) == places[0]] == [
        "Harmful requests refused",
        "Look-alikes answered",
        "Ordinary requests answered",
        "Visible reasoning",
        "Benign answers distinct",
        "Cut off",
    ]
    assert table[-2].name == "Canary loss (nats/token)"


def test_rows_are_paired_whatever_their_order() -> None:
    rows = [*pair("truncated", 0.1, 0.2), *pair("harmful_refused", 0.0, 0.9)]
    assert comparison(rows) == comparison(rows[::-1])
    first = comparison(rows)[0]
    assert (first.metric, first.old, first.new) == ("harmful_refused", 0.0, 0.9)


def test_a_change_is_judged_only_when_the_intervals_are_apart() -> None:
    def judge(metric: str, before: float, after: float) -> str:
        return comparison(pair(metric, before, after))[0].judgement

    assert judge("harmful_refused", 0.2, 0.8) == "better"
    assert judge("lookalike_answered", 0.8, 0.2) == "worse"
    assert judge("lookalike_answered", 0.8, 0.75) == "unclear"
    assert judge("canary_loss", 2.0, 2.5) == "worse"
    assert judge("truncated", 0.5, 0.1) == "better"
    assert judge("canary_opening", 2.0, 4.0) == "unclear"


def test_a_missing_side_is_shown_as_missing() -> None:
    only = comparison([row("after", "harmful_refused", 0.5)])[0]
    assert (only.show(only.before), only.show_change(), only.n) == ("–", "–", "100")
    empty = comparison(pair("harmful_refused", None, 0.5))[0]
    assert empty.before is None
    assert empty.judgement == "unclear"


def test_rates_are_shown_in_percent_and_losses_in_nats() -> None:
    rate, loss = comparison([*pair("harmful_refused", 0.5, 0.25), *pair("canary_loss", 2.0, 2.125)])
    assert (rate.show(rate.before), rate.show_interval(rate.before)) == ("50 %", "45–55")
    assert rate.show_change() == "−25"
    assert (loss.show(loss.after), loss.show_change()) == ("2.12", "+0.12")


def test_no_change_is_shown_without_a_sign() -> None:
    assert comparison(pair("harmful_refused", 0.500, 0.499))[0].show_change() == "0"


def test_attacks_and_unknown_metrics_have_rows_of_their_own() -> None:
    rows = [*pair("harmful_refused", 0.1, 0.9), *pair("harmful_refused", 0.1, 0.4, attack="pap")]
    assert [r.benchmark for r in comparison(rows)] == ["embedded", "embedded + pap"]
    odd = comparison(pair("some_new_rate", 0.1, 0.9))[0]
    assert (odd.name, odd.judgement) == ("Some new rate", "unclear")


def test_the_markdown_table_has_a_line_a_row() -> None:
    table = comparison(pair("harmful_refused", 0.1, 0.9, benchmark="a|b"))
    lines = markdown_table(table).splitlines()
    assert len(lines) == 3
    assert lines[2] == (
        "| a\\|b | bare request | Harmful requests refused | 10 % (5–15) | 90 % (85–95) | +80 "
        "| 100 |"
    )


def test_the_terminal_table_shows_names_figures_and_literal_brackets() -> None:
    table = comparison(pair("harmful_refused", 0.1, 0.9, benchmark="set [red]one"))
    console = Console(width=100)
    with console.capture() as captured:
        console.print(rich_table(table))
    text = captured.get()
    assert "set [red]one" in text
    for part in ("Harmful requests refused", "10 % (5–15)", "90 % (85–95)", "+80"):
        assert part in text


def test_rows_of_one_hazard_and_of_the_other_table_stay_out() -> None:
    rows = [
        *pair("harmful_refused", 0.1, 0.9),
        *pair("harmful_refused", 0.5, 0.5, hazard="hate"),
        *pair("asr", 0.9, 0.1),
        *pair("asr", 0.9, 0.1, hazard="hate"),
        *pair("nrr", 0.9, 0.9),
    ]
    assert [(r.metric, r.old) for r in comparison(rows)] == [("harmful_refused", 0.1)]
