"""The study that the docs show is what its record says, byte for byte."""

from pathlib import Path

from cada.reporting.study.page import write_pages
from cada.reporting.study.record import read_record

FOLDER = Path(__file__).parents[3] / "docs" / "smollm2-study"


def test_the_published_tables_are_those_of_the_published_record(tmp_path: Path) -> None:
    made = write_pages(read_record(FOLDER / "study.json"), tmp_path)
    assert {p.name: p.read_text(encoding="utf-8") for p in made} == {
        p.name: p.read_text(encoding="utf-8") for p in FOLDER.iterdir() if p.name != "study.json"
    }
