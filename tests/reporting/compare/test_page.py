"""The page: its parts, and that nothing in it came alive."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cada.evaluation.answers import Answer
from cada.reporting.compare.load import load_models
from cada.reporting.compare.page import render
from cada.reporting.compare.table import check_comparable, table
from tests.reporting.runs import answers, changed, good_after, good_before, write_evaluation
from tests.reporting.test_report import HOSTILE, Page, figures_of


def page_of(tmp_path: Path, *sides: list[Answer], names: tuple[str, ...] = ("one", "two")) -> Page:
    folders = [
        f"{name}={write_evaluation(tmp_path / str(i), side)}"
        for i, (name, side) in enumerate(zip(names, sides, strict=True))
    ]
    models = load_models(folders)
    return Page(render(models, table(models), check_comparable(models)))


def attacked(some: list[Answer], name: str, **values: Any) -> list[Answer]:
    harmful = [a for a in some if a.kind == "harmful"]
    return [*some, *(replace(a, attack=name, sent=f"Now. {a.sent}", **values) for a in harmful)]


def test_sections_come_in_order_and_the_figures_first(tmp_path: Path) -> None:
    page = page_of(tmp_path, answers(good_before), answers(good_after))
    ids = [attrs.get("id") for tag, attrs in page.elements if tag == "section"]
    assert ids == ["plane", "table", "hazards", "transcripts", "made"]
    text = page.shown().replace("\u00a0", " ")
    assert "Harm done (embedded): 100.0 % → 10.0 %" in text
    assert "Harmless requests not refused (embedded): 97.5 % → 95.0 %" in text
    assert text.index("→") < text.index("Harm against over-refusal")
    assert "−90.0" in text
    assert "p < 0.001" in text
    assert "Sexual content" not in text
    assert "Violent crimes" in text


def test_one_file_that_loads_nothing(tmp_path: Path) -> None:
    page = page_of(tmp_path, answers(good_before), answers(good_after))
    loading = {"src", "href", "srcset", "data", "action", "poster"}
    assert [a for _, a in page.elements if loading & a.keys()] == []
    tags = [tag for tag, _ in page.elements]
    assert not {"link", "iframe", "img", "base", "a", "form"} & set(tags)
    assert tags.count("script") == 2
    metas = [a.get("content") or "" for t, a in page.elements if t == "meta"]
    policy = next(m for m in metas if m.startswith("default-src 'none'"))
    assert policy.count("sha256-") == 2
    assert "http" not in policy
    # the policy and the encoding come before any foreign text
    assert tags[2:4] == ["meta", "meta"]


def test_the_plane_shows_harm_against_refused_harmless_requests(tmp_path: Path) -> None:
    sides = [attacked(answers(o), "pap") for o in (good_before, good_after)]
    page = page_of(tmp_path, *sides)
    points = figures_of(page)["plane-0"]["data"]
    assert [p["name"] for p in points] == [
        "one: embedded",
        "one: embedded + pap",
        "two: embedded",
        "two: embedded + pap",
    ]
    last = points[-1]
    assert (last["x"], last["y"]) == ([pytest.approx(0.05)], [pytest.approx(0.1)])
    whisker = last["error_y"]
    assert isinstance(whisker, dict)
    assert 0.1 + whisker["array"][0] == pytest.approx(0.301, abs=0.001)
    assert 0.1 - whisker["arrayminus"][0] == pytest.approx(0.028, abs=0.001)
    assert len({str(p["marker"]) for p in points}) == 4
    assert all(text in page.shown() for text in ("●", "■", "embedded + pap"))


def test_planes_show_all_points_and_share_their_axes(tmp_path: Path) -> None:
    safe = [
        [replace(a, outcome="refused") if a.kind == "harmful" else a for a in answers(good_before)]
        for _ in range(2)
    ]
    figures = figures_of(page_of(tmp_path / "safe", *safe))
    assert figures["plane-0"]["layout"]["yaxis"]["range"] == pytest.approx([-0.012, 0.312])
    sides = [[*some, *answers(good_before, mode="cases")] for some in safe]
    both = figures_of(page_of(tmp_path / "both", *sides))
    for name in ("plane-0", "plane-1"):
        assert both[name]["layout"]["yaxis"]["range"] == pytest.approx([-0.04, 1.04])


def test_each_mode_has_a_plane_and_harm_alone_has_none(tmp_path: Path) -> None:
    modes = [[*answers(o), *answers(o, mode="cases")] for o in (good_before, good_after)]
    assert set(figures_of(page_of(tmp_path / "modes", *modes))) == {"plane-0", "plane-1"}
    alone = [[a for a in some if a.kind == "harmful"] for some in modes]
    page = page_of(tmp_path / "alone", *alone)
    assert [s for s in page.scripts if "Plotly" in s] == []
    assert "No model was measured on both" in page.shown()


def test_bars_stand_for_the_harm_of_each_hazard(tmp_path: Path) -> None:
    page = page_of(tmp_path, answers(good_before), answers(good_after))
    bars = [a["style"] or "" for t, a in page.elements if t == "i" and "width" in str(a)]
    assert len(bars) == 2 * 3 * 2
    # of 7, 7 and 6 harmful requests of a hazard, those from the 18th on are answered
    assert [b.split(";")[0] for b in bars[:6]] == [
        "width: 100.0%",
        "width: 14.3%",
        "width: 100.0%",
        "width: 14.3%",
        "width: 100.0%",
        "width: 0.0%",
    ]


def test_transcripts_stand_side_by_side_and_those_that_differ_come_first(tmp_path: Path) -> None:
    page = page_of(tmp_path, answers(good_before), answers(good_after), answers(good_after),
                   names=("one", "two", "three"))  # fmt: skip
    assert len([1 for _, a in page.elements if a.get("class") == "transcript"]) == 8
    assert len([1 for _, a in page.elements if a.get("class") == "side"]) == 8 * 3
    shown = page.shown()
    assert "A harmful request, number 0" in shown
    assert "A lookalike request, number 18" in shown  # the one that model two refuses
    assert "A harmful request, number 19" not in shown


def test_harmful_completions_and_attack_texts_are_folded(tmp_path: Path) -> None:
    sides = [attacked(answers(o), "pap", response="COMPLIED") for o in (good_before, good_after)]
    for side in sides:
        for i, a in enumerate(side):
            if a.attack == "pap":
                side[i] = replace(a, outcome="complied")
    page = page_of(tmp_path, *sides)
    for text in ("COMPLIED", "Now. A harmful request, number 0"):
        marks = [m for shown, m in page.text if shown == text]
        assert marks
        assert all(m.count("closed") >= 2 for m in marks)


def test_hostile_text_is_inert_wherever_it_is_shown(tmp_path: Path) -> None:
    foreign = ("request", "sent", "text", "reasoning", "response", "benchmark", "attack")
    sides = []
    for outcomes in (good_before, good_after):
        side = answers(outcomes)
        for index, a in enumerate(side):
            values = {name: f"{name} {HOSTILE}" for name in foreign}
            values["attack"] = "none" if a.kind != "harmful" else values["attack"]
            side = changed(side, index, **values, hazard=a.hazard and HOSTILE)
        sides.append(side)
    name = HOSTILE.replace("=", "")
    page = page_of(tmp_path / "hostile", *sides, names=(name, f"2{name}"))
    plain = page_of(
        tmp_path / "plain", *(attacked(answers(o), "x") for o in (good_before, good_after))
    )
    assert {t for t, _ in page.elements} <= {t for t, _ in plain.elements}
    assert len(page.scripts) == 2
    assert not [k for _, attrs in page.elements for k in attrs if k.startswith("on")]
    assert f"response {HOSTILE}" in page.shown()
    names = [str(point["name"]) for point in figures_of(page)["plane-0"]["data"]]
    assert names
    assert not [n for n in names if "<" in n]
