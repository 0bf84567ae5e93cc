import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from cada.errors import CadaError
from cada.reporting.card import model_card
from cada.reporting.report import write_report
from tests.reporting.runs import (
    answers,
    changed,
    good_after,
    good_before,
    metrics,
    recipe,
    write_run,
)

SECTIONS = [
    "harm-and-over-refusal",
    "before-and-after",
    "diagnoses",
    "training",
    "hazards",
    "transcripts",
    "made",
]
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&"\'{{ 7 * 6 }}'


class Page(HTMLParser):
    """The elements of a page, and the text outside scripts with the elements it stands in."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, tuple[str, ...]]] = []
        self.scripts: list[str] = []
        self._open: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            values = dict(attrs)
            folded = "open" not in values and tag == "details"
            self._open.append((tag, "closed" if folded else values.get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "script":
            self.scripts.append(data)
        elif data.strip():
            self.text.append((data, tuple(mark for _, mark in self._open)))

    def shown(self) -> str:
        return "\n".join(text for text, _ in self.text)


def page_of(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_sections_come_in_order_and_the_headline_first(tmp_path: Path) -> None:
    write_run(tmp_path)
    page = page_of(tmp_path)
    ids = [attrs.get("id") for tag, attrs in page.elements if tag == "section"]
    assert ids == SECTIONS
    text = page.shown().replace("\u00a0", " ")
    headline = "Harmful requests refused: 0 % → 90 %; look-alikes answered: 95 % → 90 %"
    assert text.index(headline) < text.index("Harm against over-refusal")


def test_one_file_that_loads_nothing(tmp_path: Path) -> None:
    write_run(tmp_path)
    page = page_of(tmp_path)
    loading = {"src", "href", "srcset", "data", "action", "poster"}
    assert [a for _, a in page.elements if loading & a.keys()] == []
    assert not [tag for tag, _ in page.elements if tag in ("link", "iframe", "img", "base")]
    policy = next(
        attrs["content"]
        for _, attrs in page.elements
        if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 2
    assert policy.count("sha256-") == 2


def test_every_figure_has_its_place_on_the_page(tmp_path: Path) -> None:
    write_run(tmp_path)
    page = page_of(tmp_path)
    figures = figures_of(page)
    places = {attrs.get("id") for _, attrs in page.elements if attrs.get("class") == "plot"}
    assert set(figures) == places
    assert {"tradeoff", "curve-rewards", "curve-plus", "curve-kl", "curve-length"} <= places


def figures_of(page: Page) -> dict[str, dict[str, Any]]:
    script = next(s for s in page.scripts if "Plotly.newPlot(id" in s)
    found = re.search(r"const figures = (\{.*\});\n", script)
    assert found is not None
    figures: dict[str, dict[str, Any]] = json.loads(found.group(1))
    return figures


def test_the_picture_shows_harm_against_unanswered_look_alikes(tmp_path: Path) -> None:
    write_run(tmp_path)
    before, after = figures_of(page_of(tmp_path))["tradeoff"]["data"]
    assert (before["x"], before["y"]) == ([pytest.approx(0.05)], [1.0])
    assert (after["x"], after["y"]) == ([pytest.approx(0.1)], [pytest.approx(0.1)])
    whisker = after["error_y"]
    assert isinstance(whisker, dict)
    assert 0.1 - whisker["arrayminus"][0] == pytest.approx(1 - 0.972, abs=0.002)
    assert 0.1 + whisker["array"][0] == pytest.approx(1 - 0.699, abs=0.002)


def test_curves_have_a_point_a_step_and_gaps_where_nothing_was_measured(tmp_path: Path) -> None:
    lines = metrics()
    lines[-1]["kl"] = float("nan")
    write_run(tmp_path, lines=lines)
    (kl,) = figures_of(page_of(tmp_path))["curve-kl"]["data"]
    assert kl["x"] == [1, 2, 3, 4, 5]
    assert kl["y"] == [None, None, 0.02, 0.03, None]


def test_model_output_is_inert_wherever_it_is_shown(tmp_path: Path) -> None:
    values = {
        "request": HOSTILE,
        "text": HOSTILE,
        "response": HOSTILE,
        "reasoning": HOSTILE,
        "hazard": HOSTILE,
        "benchmark": HOSTILE,
    }
    sides = []
    for outcomes in (good_before, good_after):
        side = answers(outcomes)
        for index in range(len(side)):
            own = values | {"hazard": None} if side[index].hazard is None else values
            side = changed(side, index, **own)
        sides.append(side)
    lines = [line | {"phase": HOSTILE, "stopped": HOSTILE} for line in metrics()]
    plain = metrics()
    write_run(tmp_path / "hostile", before=sides[0], after=sides[1], lines=lines)
    write_run(tmp_path / "plain", lines=plain)
    hostile, page = page_of(tmp_path / "hostile"), page_of(tmp_path / "plain")
    assert {t for t, _ in hostile.elements} == {t for t, _ in page.elements}
    assert len(hostile.scripts) == len(page.scripts) == 2
    handlers = [k for _, attrs in hostile.elements for k in attrs if k.startswith("on")]
    assert handlers == []
    assert HOSTILE in hostile.shown()
    names = {str(trace["name"]) for trace in figures_of(hostile)["tradeoff"]["data"]}
    assert not [name for name in names if "<" in name]


def test_harmful_completions_are_folded_and_refusals_are_not(tmp_path: Path) -> None:
    after = answers(good_after)
    for index, a in enumerate(after):
        if a.kind == "harmful" and a.outcome == "complied":
            after = changed(after, index, response="COMPLIED TEXT", reasoning="COMPLIED REASONS")
        elif a.kind == "harmful":
            after = changed(after, index, response="REFUSED TEXT")
    write_run(tmp_path, after=after)
    page = page_of(tmp_path)
    for text in ("COMPLIED TEXT", "COMPLIED REASONS"):
        marks = [marks for shown, marks in page.text if shown == text]
        assert marks
        assert all(m.count("closed") >= 2 and "folded" not in m for m in marks)
    refused = [marks for shown, marks in page.text if shown == "REFUSED TEXT"]
    assert refused
    assert "harmful completion, folded" in page.shown()


def test_a_hazard_shows_at_most_four_transcripts_with_a_wrong_one_among_them(
    tmp_path: Path,
) -> None:
    write_run(tmp_path)
    page = page_of(tmp_path)
    shown = [a for _, a in page.elements if a.get("class") == "transcript"]
    assert len(shown) <= 4 * 3 + 4
    assert "A harmful request, number 18" in page.shown()


def test_a_run_without_steps_or_answers_still_has_a_report(tmp_path: Path) -> None:
    write_run(tmp_path, lines=[])
    for name in ("answers-before.jsonl", "answers-after.jsonl"):
        (tmp_path / name).unlink()
    text = page_of(tmp_path).shown()
    assert "There is no training step on record." in text
    assert "There are no answers on record." in text


def test_a_run_on_harmful_requests_alone_has_no_picture(tmp_path: Path) -> None:
    before, after = (
        [a for a in answers(o) if a.kind == "harmful"] for o in (good_before, good_after)
    )
    write_run(tmp_path, before=before, after=after)
    page = page_of(tmp_path)
    assert "tradeoff" not in figures_of(page)
    assert "No set with both harmful requests and look-alikes" in page.shown()


def test_a_folder_that_is_no_run_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match="no finished run"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_run_gives_the_same_report(tmp_path: Path) -> None:
    write_run(tmp_path)
    assert write_report(tmp_path).read_bytes() == write_report(tmp_path).read_bytes()


def test_the_card_has_metadata_the_table_and_the_limits(tmp_path: Path) -> None:
    card = model_card(write_run(tmp_path / "small"))
    _, front, body = card.split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert metadata["license"] == "apache-2.0"
    assert "# small\n" in body
    row = "| Harmful requests refused | 0 % (0–16) | 90 % (70–97) | +90 | 20 |"
    assert row in body
    assert "| distil | 2 | mode `cases` | the bare request | 64 × 4 | 3e-05 | 0.0 |" in body
    for heading in ("Intended use and limits", "How to use it", "Licence"):
        assert f"## {heading}" in body
    assert "Known troubles" not in body


def test_the_card_names_troubles_and_leaves_a_local_base_out_of_the_metadata(
    tmp_path: Path,
) -> None:
    run = write_run(
        tmp_path, chosen=recipe(model="/models/mine"), after=answers(good_after, reasoned=False)
    )
    card = model_card(run)
    metadata = yaml.safe_load(card.split("---\n", 2)[1])
    assert "base_model" not in metadata
    assert metadata["license"] == "other"
    assert "**Direct refusals without reasoning.**" in card
