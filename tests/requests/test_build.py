import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from cada.config.sources import Columns, RequestSource
from cada.errors import CadaError
from cada.requests.build import BEAVERTAILS, BEAVERTAILS_WHERE, BuildOptions, build
from cada.requests.sources import load_requests

DATA = Path(__file__).parents[2] / "../shared/data"


@pytest.fixture
def pool(tmp_path: Path) -> RequestSource:
    """Ten requests of hazard 7, four of 8, one each of 0, 13 and no label; three to drop."""
    lines = [f'"Insult number {i} for {"abcdefghij"[i]} people",7' for i in range(10)]
    lines += [f'"Find the address {i} of {"abcd"[i]} person",8' for i in range(4)]
    lines += ["A safe one,0", "Another harm entirely,13", "No label here,"]
    lines += ["insult NUMBER 3 for d people!,7", "Please insult number 3 for d people,7"]
    lines += ["Where does my rival live now?,8"]
    path = tmp_path / "pool.csv"
    path.write_text("prompt,number\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return RequestSource(path=str(path), columns=Columns(hazard="number"), harmful=True)


@pytest.fixture
def test_set(tmp_path: Path) -> RequestSource:
    path = tmp_path / "bench.csv"
    path.write_text("goal\nWhere does my rival live?\n", encoding="utf-8")
    return RequestSource(path=str(path))


def test_writes_the_set_and_its_report(
    pool: RequestSource, test_set: RequestSource, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "set.jsonl"
    report = build(pool, out, BuildOptions(total=10, cap=6), tests=[test_set])
    assert report.rows == 20
    assert report.labelled == {"hazard": 17, "harmless": 1, "no_hazard": 2}
    assert report.dropped == {"exact_duplicate": 1, "near_duplicate": 1, "test_overlap": 1}
    assert report.overlaps == {test_set.path: 1}
    assert report.available == {"hate": 10, "privacy": 4}
    assert report.written_by_hazard == {"hate": 6, "privacy": 4}
    assert (report.written, report.unique) == (10, 10)
    loaded = load_requests(RequestSource(path=str(out)))
    assert len(loaded) == 10
    assert all(r.harmful and r.hazard in ("hate", "privacy") for r in loaded)
    assert {r.id.partition("/")[0] for r in loaded} == {"pool"}
    saved = json.loads(out.with_suffix(".report.json").read_text(encoding="utf-8"))
    assert saved["written_by_hazard"] == report.written_by_hazard
    assert {drop["reason"] for drop in saved["drops"]} == set(report.dropped)


def test_harmless_rows_of_the_same_source(
    pool: RequestSource, test_set: RequestSource, tmp_path: Path
) -> None:
    lines = ["A safe one,0", "Where does my rival live?,0", "A safe ONE!,0", "Another,0"]
    with Path(str(pool.path)).open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    out = tmp_path / "harmless.jsonl"
    report = build(pool, out, BuildOptions(harmless=True), tests=[test_set])
    assert report.labelled["harmless"] == 5
    assert report.dropped == {"exact_duplicate": 2, "near_duplicate": 0, "test_overlap": 1}
    loaded = load_requests(RequestSource(path=str(out)))
    assert sorted(r.text for r in loaded) == ["A safe one", "Another"]
    assert {r.kind for r in loaded} == {"ordinary"}
    hazards = RequestSource(path=str(pool.path), hazard="hate", harmful=True)
    with pytest.raises(CadaError, match="no request is labelled harmless"):
        build(hazards, tmp_path / "none.jsonl", BuildOptions(harmless=True))


def test_the_seed_decides_every_byte(pool: RequestSource, tmp_path: Path) -> None:
    def written(name: str, seed: int) -> bytes:
        out = tmp_path / f"{name}.jsonl"
        build(pool, out, BuildOptions(total=6, seed=seed))
        return out.read_bytes()

    assert written("a", 1) == written("b", 1) != written("c", 2)


def test_repeat_fills_up_and_counts_the_unique(pool: RequestSource, tmp_path: Path) -> None:
    short = build(pool, tmp_path / "a.jsonl", BuildOptions(total=18, cap=9))
    assert (short.written, short.unique) == (14, 14)
    full = build(pool, tmp_path / "b.jsonl", BuildOptions(total=18, cap=9, repeat=True))
    assert (full.written, full.unique) == (18, 14)
    assert full.written_by_hazard == {"hate": 9, "privacy": 9}
    assert len(load_requests(RequestSource(path=str(tmp_path / "b.jsonl")))) == 18


def test_a_classifier_labels_each_text_once(pool: RequestSource, tmp_path: Path) -> None:
    asked: list[str] = []

    def classify(texts: Sequence[str]) -> list[int | str]:
        asked.extend(texts)
        return ["Elections" if "safe" in text else 13 if "harm" in text else 0 for text in texts]

    unlabelled = RequestSource(path=pool.path, harmful=True)
    report = build(unlabelled, tmp_path / "a.jsonl", classify=classify)
    assert len(asked) == len(set(asked)) == 19
    assert report.labelled == {"hazard": 1, "harmless": 17, "no_hazard": 1}
    assert report.dropped["exact_duplicate"] == 1
    assert report.written_by_hazard == {"elections": 1}


def test_bad_labels_of_a_classifier(pool: RequestSource, tmp_path: Path) -> None:
    unlabelled = RequestSource(path=pool.path, harmful=True)
    with pytest.raises(CadaError, match="gave 1 labels for 19 requests"):
        build(unlabelled, tmp_path / "a.jsonl", classify=lambda texts: [1])
    with pytest.raises(CadaError, match="the classifier's label for pool/2: unknown hazard '99'"):
        build(unlabelled, tmp_path / "a.jsonl", classify=lambda texts: [99] * len(texts))


def test_no_labels_at_all(pool: RequestSource, tmp_path: Path) -> None:
    with pytest.raises(CadaError, match="--hazard-column"):
        build(RequestSource(path=pool.path, harmful=True), tmp_path / "a.jsonl")
    assert not list(tmp_path.glob("a.*"))


def test_an_output_is_not_replaced_unasked(pool: RequestSource, tmp_path: Path) -> None:
    out = tmp_path / "set.jsonl"
    for taken in (out, tmp_path / "set.report.json"):
        taken.write_text("mine", encoding="utf-8")
        with pytest.raises(CadaError, match=r"is there already.*--force"):
            build(pool, out)
        assert taken.read_text(encoding="utf-8") == "mine"
        taken.unlink()
    out.write_text("mine", encoding="utf-8")
    build(pool, out, force=True)
    assert len(load_requests(RequestSource(path=str(out)))) == 15


def test_a_failing_build_leaves_what_was_there(pool: RequestSource, tmp_path: Path) -> None:
    out = tmp_path / "set.jsonl"
    build(pool, out)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CadaError, match="every request was dropped"):
        build(pool, out, tests=[pool], force=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("set.csv", BuildOptions(), r"unknown suffix '\.csv'.*\.jsonl"),
        ("set.jsonl", BuildOptions(total=0), "total: 0 is too small"),
        ("set.jsonl", BuildOptions(cap=0), "cap: 0 is too small"),
        ("set.jsonl", BuildOptions(threshold=2), "threshold"),
    ],
)
def test_impossible_options(
    pool: RequestSource, tmp_path: Path, name: str, options: BuildOptions, message: str
) -> None:
    with pytest.raises(CadaError, match=message):
        build(pool, tmp_path / name, options)
    assert not (tmp_path / name).exists()


def test_a_hub_set_in_beavertails_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [
        {"prompt": "Insult my neighbours", "response": "…", "is_safe": False},
        {"prompt": "Insult my neighbours", "response": "No.", "is_safe": True},
        {"prompt": "Bake a lemon cake", "response": "Gladly.", "is_safe": True},
    ]
    folder = tmp_path / "hub"
    folder.mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "rows.parquet")
    splits = "configs:\n- config_name: default\n  data_files:\n"
    splits += "  - {split: 30k_train, path: rows.parquet}\n"
    (folder / "README.md").write_text(f"---\n{splits}---\n", encoding="utf-8")
    report = build(
        BEAVERTAILS.model_copy(update={"hub": str(folder)}),
        tmp_path / "set.jsonl",
        classify=lambda texts: [7 for _ in texts],
        where=BEAVERTAILS_WHERE,
    )
    assert (report.source, report.rows, report.written_by_hazard) == ("beavertails", 1, {"hate": 1})


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
def test_the_papers_set_from_beavertails(tmp_path: Path) -> None:
    beavertails = RequestSource(
        path=str(DATA / "beavertails/requests.csv"),
        name="beavertails",
        columns=Columns(hazard="category_number"),
        harmful=True,
    )
    tests = [
        RequestSource(path=str(DATA / name))
        for name in (
            "advbench/harmful_behaviors.csv",
            "strongreject/strongreject_dataset.csv",
            "xstest/xstest_prompts.csv",
        )
    ]
    report = build(beavertails, tmp_path / "train.jsonl", tests=tests)
    assert (report.written, report.unique) == (500, 500)
    assert len(report.written_by_hazard) == 12
    assert max(report.written_by_hazard.values()) <= 50
    assert report.labelled == {"hazard": 2426, "harmless": 1069, "no_hazard": 146}
    assert report.dropped["test_overlap"] > 0
