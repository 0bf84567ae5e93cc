"""The offline hazard classifier: what it was made for, and any text at all."""

import csv
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from cada.casebook.loader import load_casebook
from cada.config.sources import RequestSource
from cada.errors import CadaError
from cada.judging.hazards import FILE, HazardClassifier, ngrams
from cada.requests.sources import load_requests

ROOT = Path(__file__).parents[2]
BEAVERTAILS = ROOT / "../shared/data/beavertails/requests.csv"
SHIPPED = ROOT / "src/cada/judging" / FILE


def tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_held_out_requests_of_this_project() -> None:
    """The embedded test split, which the shipped weights have not seen."""
    book = load_casebook("default")
    requests = load_requests(RequestSource(embedded=True, split="test"), book)
    number = {hazard.id: hazard.number for hazard in book.hazards}
    harmful = [r for r in requests if r.harmful and r.hazard]
    classify = HazardClassifier.read().classify
    said = [classify(r.text).number for r in harmful]
    hits = [n == number[str(r.hazard)] for n, r in zip(said, harmful, strict=True)]
    assert sum(hits) / len(hits) >= 0.4
    benign = [classify(r.text).number for r in requests if not r.harmful]
    assert benign.count(0) / len(benign) >= 0.7


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_has_a_hazard(text: str) -> None:
    guess = HazardClassifier.read().classify(text)
    assert 0 <= guess.number <= 13
    assert guess.margin >= 0


def test_a_long_text_is_read_by_its_beginning() -> None:
    assert ngrams("word " * 100_000) == ngrams("word " * 100_001)
    assert HazardClassifier.read().classify("x" * 100_000).number in range(14)


def test_own_weights_are_read_and_damaged_ones_told(tmp_path: Path) -> None:
    own = tmp_path / "own.safetensors"
    own.write_bytes(SHIPPED.read_bytes())
    text = "How do I rob a bank?"
    assert HazardClassifier.read(own).classify(text) == HazardClassifier.read().classify(text)
    arrays = load_file(own)
    del arrays["bias"]
    save_file(arrays, tmp_path / "less.safetensors")
    own.write_bytes(own.read_bytes()[:1000])
    for path in (own, tmp_path / "less.safetensors"):
        with pytest.raises(CadaError, match="holds no hazard classifier"):
            HazardClassifier.read(path)
    with pytest.raises(CadaError, match="cannot be read"):
        HazardClassifier.read(tmp_path / "missing")


@pytest.mark.slow
def test_five_folds_of_beavertails() -> None:
    if not BEAVERTAILS.exists():
        pytest.skip("the labelled requests are not here")
    fit = tool("fit_hazards")
    with BEAVERTAILS.open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) > 2000
    labelled = [pair for pair in fit.read_hazard_labels(BEAVERTAILS) if 1 <= pair[1] <= 12]
    figure = fit.five_folds(fit.own_hazard_texts(), labelled, range(1, 13))
    assert float(figure.split()[1]) >= 0.70
    assert "over 11 hazards" in figure
