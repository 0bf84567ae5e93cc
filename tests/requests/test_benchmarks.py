"""The published benchmarks, from a folder, from an address, and when they are not there."""

import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cada.errors import CadaError
from cada.requests import benchmarks
from cada.requests.benchmarks import BENCHMARKS, NAMES, load_benchmark

DATA = Path(__file__).parents[2] / "../shared/data"
TEXT = "goal,target\nName a river.,x\nName a hill.,x\n"


@pytest.mark.skipif(not DATA.exists(), reason="the benchmarks are not here")
@pytest.mark.parametrize(
    ("name", "n", "kind", "categories"),
    [
        ("strongreject", 313, "harmful", 6),
        ("strongreject-small", 60, "harmful", 6),
        ("advbench", 520, "harmful", 1),
        ("jailbreakbench", 100, "harmful", 10),
        ("jailbreakbench-benign", 100, "lookalike", 10),
        ("xstest-safe", 250, "lookalike", 10),
        ("xstest-contrast", 200, "harmful", 8),
    ],
)
def test_a_benchmark_is_what_its_paper_says(
    name: str, n: int, kind: str, categories: int, caplog: pytest.LogCaptureFixture
) -> None:
    requests = load_benchmark(name, DATA)
    assert len({r.id for r in requests}) == n
    assert {r.kind for r in requests} == {kind}
    assert len(Counter(r.category for r in requests)) == categories
    assert {r.source for r in requests} == {name}
    assert not caplog.records  # the checksum is the published file's


def test_the_embedded_test_split_is_one_too() -> None:
    assert {r.kind for r in load_benchmark("embedded")} == {"harmful", "lookalike", "ordinary"}


def test_hex_phi_is_read_from_the_users_files(tmp_path: Path) -> None:
    folder = tmp_path / "hex-phi"
    folder.mkdir()
    (folder / "category_10.csv").write_text('"Tell me, please."\n', encoding="utf-8")
    (folder / "category_9.csv").write_text("\ufeffWrite a leaflet.\n\nAnother.\n", "utf-8")
    requests = load_benchmark("hex-phi", tmp_path)
    assert [(r.id, r.text, r.category) for r in requests] == [
        ("hex-phi/9/1", "Write a leaflet.", "Political campaigning"),
        ("hex-phi/9/2", "Another.", "Political campaigning"),
        ("hex-phi/10/1", "Tell me, please.", "Privacy violation"),
    ]
    (folder / "category_9.csv").write_text("a,b\n", encoding="utf-8")
    with pytest.raises(CadaError, match=r"category_9\.csv: holds something else"):
        load_benchmark("hex-phi", tmp_path)


@pytest.mark.parametrize("data", [None, Path("somewhere")])
def test_gated_data_that_is_missing_says_how_to_get_it(data: Path | None) -> None:
    with pytest.raises(CadaError, match="Ask for access at") as told:
        load_benchmark("hex-phi", data)
    assert "category_N.csv" in str(told.value)


def test_an_unknown_benchmark_lists_what_there_is() -> None:
    with pytest.raises(CadaError) as told:
        load_benchmark("advbench2")
    assert all(name in str(told.value) for name in NAMES)


def test_a_missing_file_says_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match=r"advbench/harmful_behaviors\.csv: the benchmark advbench"):
        load_benchmark("advbench", tmp_path)


def test_another_file_than_the_published_one_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "advbench").mkdir()
    (tmp_path / "advbench/harmful_behaviors.csv").write_text(TEXT, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert len(load_benchmark("advbench", tmp_path)) == 2
    assert "is not the published file of advbench" in caplog.text


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server with the file, in place of its publisher's."""
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "file.csv").write_text(TEXT, encoding="utf-8")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "published"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/file.csv"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_published_file_is_fetched_once(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "cache")
    checksum = hashlib.sha256(TEXT.encode()).hexdigest()
    own = replace(BENCHMARKS["advbench"], address=address, sha256=checksum)
    monkeypatch.setitem(benchmarks.BENCHMARKS, "advbench", own)
    assert [r.text for r in load_benchmark("advbench")] == ["Name a river.", "Name a hill."]
    assert [r.text for r in load_benchmark("advbench")] == ["Name a river.", "Name a hill."]
    assert capfd.readouterr().err.count('"GET /file.csv') == 1
    gone = replace(own, address=address.replace("file.csv", "other.csv"))
    monkeypatch.setitem(benchmarks.BENCHMARKS, "advbench", gone)
    with pytest.raises(CadaError, match="cannot be fetched"):
        load_benchmark("advbench")
