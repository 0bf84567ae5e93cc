import json
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from cada.config.sources import Columns, RequestSource
from cada.errors import CadaError
from cada.requests.sources import load_requests, load_texts
from cada.requests.types import Turn

DATA = Path(__file__).parents[2] / "../shared/data"


def write(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_bytes(text.encode(encoding))
    return str(path)


def source(path: str, columns: dict[str, str] | None = None, **fields: object) -> RequestSource:
    return RequestSource.model_validate({"path": path, "columns": columns or {}, **fields})


def refused(source: RequestSource, *patterns: str, **options: object) -> None:
    """Loading fails in one line that says each of these."""
    with pytest.raises(CadaError) as caught:
        load_requests(source, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    for pattern in patterns:
        assert re.search(pattern, message), message


class TestFormats:
    rows = ({"prompt": "How are you?", "hazard": 0}, {"prompt": 'Say "hé, you"', "hazard": 7})

    def check(self, source: RequestSource) -> None:
        first, second = load_requests(source)
        assert (first.text, first.harmful, first.hazard) == ("How are you?", False, None)
        assert (second.text, second.harmful, second.hazard) == ('Say "hé, you"', True, "hate")

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_csv(self, tmp_path: Path, encoding: str) -> None:
        text = 'prompt,hazard\r\nHow are you?,0\r\n"Say ""hé, you""",7\r\n'
        self.check(source(write(tmp_path / "a.csv", text, encoding)))

    def test_jsonl(self, tmp_path: Path) -> None:
        text = "\n\n".join(json.dumps(row) for row in self.rows)
        self.check(source(write(tmp_path / "a.jsonl", text)))

    def test_json(self, tmp_path: Path) -> None:
        self.check(source(write(tmp_path / "a.json", json.dumps(list(self.rows)))))

    def test_parquet(self, tmp_path: Path) -> None:
        table = pyarrow.Table.from_pylist(list(self.rows))
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        self.check(source(str(tmp_path / "a.parquet")))

    def test_hub(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        folder = tmp_path / "set"
        folder.mkdir()
        table = pyarrow.Table.from_pylist(list(self.rows))
        pyarrow.parquet.write_table(table, folder / "test.parquet")
        here = {"hub": str(folder), "split": "test", "name": "mine"}
        self.check(RequestSource.model_validate(here))
        assert load_requests(RequestSource.model_validate(here))[0].source == "mine"
        refused(
            RequestSource(hub=str(folder), split="tset"), r"split tset: cannot be loaded", "test"
        )
        refused(RequestSource(hub=str(tmp_path / "no/set")), r"no/set.*cannot be loaded")


class TestMapping:
    @pytest.mark.parametrize("name", ["prompt", "text", "goal", "request", "question", "Goal"])
    def test_usual_text_columns_are_found(self, tmp_path: Path, name: str) -> None:
        path = write(tmp_path / "a.csv", f"other,{name}\nx,How?\n")
        assert load_requests(source(path, harmful=False))[0].text == "How?"

    def test_named_columns(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "mine.csv",
            "no,ask,topic,bad,frame\n7,How?,Suicide & Self-Harm,yes,Be kind.\n8,Why?,wmd,safe,\n",
        )
        columns = {"text": "ask", "hazard": "topic", "harmful": "bad", "id": "no"}
        first, second = load_requests(source(path, {**columns, "system": "frame"}))
        assert (first.id, first.hazard, first.kind) == ("7", "self_harm", "harmful")
        assert (first.system, first.source) == ("Be kind.", "mine")
        assert (second.hazard, second.kind, second.system) == ("wmd", "lookalike", None)

    def test_ids_are_line_numbers_where_there_are_none(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", 'text\n"two\nlines"\nHow?\n')
        loaded = load_requests(source(path, harmful=True))
        assert [request.id for request in loaded] == ["a/2", "a/4"]

    def test_constants(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text\nHow?\n")
        (request,) = load_requests(source(path, harmful=False, hazard="Privacy"))
        assert (request.hazard, request.kind) == ("privacy", "lookalike")

    def test_earlier_turns(self, tmp_path: Path) -> None:
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        row = {"text": "How?", "harmful": True, "history": turns}
        (request,) = load_requests(source(write(tmp_path / "a.jsonl", json.dumps(row))))
        assert request.history == (Turn("user", "Hi"), Turn("assistant", "Hello"))

    @pytest.mark.parametrize(
        ("label", "hazard", "harmful"),
        [
            ("0", None, False),
            ("13", None, True),
            ("8", "privacy", True),
            ("8.0", "privacy", True),
            ("Sex-Related Crimes", "sex_crimes", True),
            ("Weapons of Mass Destruction (CBRNE)", "wmd", True),
            ("intellectual_property", "intellectual_property", True),
            ("Safe (judged by classifier)", None, False),
            ("Other (unsafe, none of the 12)", None, True),
        ],
    )
    def test_hazard_labels(
        self, tmp_path: Path, label: str, hazard: str | None, harmful: bool
    ) -> None:
        path = write(tmp_path / "a.csv", f'text,hazard\nHow?,"{label}"\n')
        (request,) = load_requests(source(path))
        assert (request.hazard, request.harmful) == (hazard, harmful)

    def test_a_safe_label_beats_the_constant_and_an_empty_one_does_not(
        self, tmp_path: Path
    ) -> None:
        path = write(tmp_path / "a.csv", "text,hazard\nA,0\nB,\nC,5\n")
        loaded = load_requests(source(path, harmful=True))
        assert [(r.harmful, r.hazard) for r in loaded] == [
            (False, None),
            (True, None),
            (True, "wmd"),
        ]

    def test_where_kinds_and_limit(self, tmp_path: Path) -> None:
        lines = "".join(f"request {i},{i % 2},{'ab'[i % 3 == 0]}\n" for i in range(60))
        path = write(tmp_path / "a.csv", "text,harmful,part\n" + lines)
        kept = load_requests(source(path, kinds=["harmful"]), where={"part": "B"})
        assert [r.text for r in kept] == [f"request {i}" for i in range(60) if i % 6 == 3]
        draw = [r.id for r in load_requests(source(path, limit=10, seed=1))]
        assert draw == [r.id for r in load_requests(source(path, limit=10, seed=1))]
        assert len(set(draw)) == 10
        assert draw != [r.id for r in load_requests(source(path, limit=10, seed=2))]

    def test_hazards_are_kept_or_held_out(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,hazard\nA,hate\nB,privacy\nC,0\nD,wmd\n")
        assert [r.text for r in load_requests(source(path, hazards=["hate", "wmd"]))] == ["A", "D"]
        held = load_requests(source(path, without_hazards=["hate", "wmd"]))
        assert [r.text for r in held] == ["B", "C"]
        both = source(path, hazards=["hate", "wmd"], without_hazards=["wmd"])
        assert [r.text for r in load_requests(both)] == ["A"]


class TestEmbedded:
    def test_held_out_hazards_split_the_set(self) -> None:
        named = ["privacy", "hate"]
        parts = [{"hazards": named}, {"without_hazards": named}, {}]
        held, rest, whole = (
            load_requests(RequestSource.model_validate({"embedded": True, **part}))
            for part in parts
        )
        assert {r.hazard for r in held} == set(named)
        assert {r.kind for r in held} == {"harmful", "lookalike"}
        assert {r.id for r in held} | {r.id for r in rest} == {r.id for r in whole}
        assert len(held) + len(rest) == len(whole)

    def test_is_a_source_like_others(self) -> None:
        loaded = load_requests(RequestSource(embedded=True, split="test", kinds=["ordinary"]))
        assert loaded
        assert {r.source for r in loaded} == {"embedded"}

    def test_bad_fields(self) -> None:
        refused(RequestSource(embedded=True, split="dev"), "no split 'dev'", "validation")
        refused(RequestSource(embedded=True, harmful=True), "field harmful", "Leave it out")
        refused(RequestSource(embedded=True), "field where", where={"a": 1})


class TestBadInput:
    def test_missing_file(self, tmp_path: Path) -> None:
        write(tmp_path / "requests.csv", "text\nHow?\n")
        refused(source(str(tmp_path / "request.csv")), "no such file", r"Try '.*/requests\.csv'")
        refused(source(str(tmp_path / "no" / "a.csv")), "no such file", "Check the path")

    def test_unknown_suffix(self, tmp_path: Path) -> None:
        refused(source(str(tmp_path / "a.xlsx")), r"unknown suffix '\.xlsx'", r"\.csv, \.jsonl")

    def test_no_such_column(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "prompts,kind\nHow?,0\n")
        refused(
            source(path), "a.csv: no column 'prompt' or", "Did you mean 'prompts'", "columns.text"
        )
        refused(source(path, {"text": "prompts", "hazard": "knd"}), "'knd'", "'kind'")
        refused(source(path, {"text": "prompts"}), "'kid'", "'kind'", where={"kid": 1})

    def test_semicolons(self, tmp_path: Path) -> None:
        refused(source(write(tmp_path / "a.csv", "prompt;hazard\nHow?;0\n")), "save it with commas")

    def test_field_of_another_kind_of_source(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text\nHow?\n")
        refused(source(path, split="test", harmful=True), "field split", "a file")

    @pytest.mark.parametrize("suffix", ["csv", "jsonl"])
    def test_empty_texts(self, tmp_path: Path, suffix: str) -> None:
        texts = ["How?", "", "Why?", "  "]
        csv = "text,n\n" + "".join(f"{text},1\n" for text in texts)
        jsonl = "\n" + "".join(json.dumps({"text": text}) + "\n" for text in texts)
        path = write(tmp_path / f"a.{suffix}", csv if suffix == "csv" else jsonl)
        refused(source(path, harmful=True), "column 'text' is empty in lines 3, 5")
        with pytest.raises(CadaError, match="lines 3, 5"):
            load_texts(source(path))

    def test_many_empty_texts_are_not_all_listed(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,n\n" + ",1\n" * 20)
        refused(source(path, harmful=True), r"lines 2, 3, 4, 5, 6, 7, 8, 9 and 12 more")

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
    def test_wrong_encoding(self, tmp_path: Path, encoding: str) -> None:
        path = write(tmp_path / "a.csv", "text\nHow?\nOù ?\n", encoding)
        line, guess = ("line 3", "LATIN1") if encoding == "latin-1" else ("line [13]", "UTF-16")
        refused(source(path, harmful=True), line, "not UTF-8", f"iconv -f {guess}")

    @pytest.mark.parametrize(
        ("name", "text"),
        [("a.csv", ""), ("a.csv", "text\n"), ("a.jsonl", ""), ("a.jsonl", "\n"), ("a.json", "[]")],
    )
    def test_zero_rows(self, tmp_path: Path, name: str, text: str) -> None:
        refused(source(write(tmp_path / name, text), harmful=True), "has no rows")

    def test_zero_rows_of_parquet(self, tmp_path: Path) -> None:
        table = pyarrow.table({"text": pyarrow.array([], pyarrow.string())})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        refused(source(str(tmp_path / "a.parquet"), harmful=True), "has no rows")

    def test_zero_rows_left(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,harmful\nHow?,no\n")
        refused(source(path), "no row has harmful = yse", "no", where={"harmful": "yse"})
        refused(source(path, kinds=["harmful"]), "no request is harmful", "ordinary")

    @pytest.mark.parametrize("field", ["hazards", "without_hazards"])
    def test_a_hazard_that_no_request_has(self, tmp_path: Path, field: str) -> None:
        path = write(tmp_path / "a.csv", "text,hazard\nHow?,hate\nWhy?,privacy\n")
        wrong = RequestSource.model_validate({"path": path, field: ["privcy"]})
        refused(wrong, "'privcy'", f"field {field}", "Did you mean 'privacy'", "hate, privacy")

    def test_all_hazards_left_out(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,hazard\nHow?,hate\n")
        refused(source(path, without_hazards=["hate"]), "no request is left")

    def test_unknown_hazard(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,hazard\nHow?,hate\nWhy?,privcy\n")
        refused(source(path), "line 3, column hazard", "'privcy'", "Did you mean 'privacy'")
        path = write(tmp_path / "b.csv", "text,hazard\nHow?,14\n")
        refused(source(path), "unknown hazard '14'", "wmd")
        path = write(tmp_path / "d.csv", 'text,hazard\nHow?,"two\nlines"\n')
        refused(source(path), "unknown hazard 'two lines'")
        path = write(tmp_path / "c.csv", "text\nHow?\n")
        refused(source(path, hazard="violence"), "field hazard", "'violence'")

    def test_no_label(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,hazard\nHow?,3\nWhy?,\n")
        refused(source(path), "line 3", "nothing says whether", "set harmful to true or false")

    def test_unreadable_label(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,harmful\nHow?,maybe\n")
        refused(source(path), "line 2, column harmful", "'maybe'", "true or false")

    def test_duplicate_ids(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,id\nA,x\nB,y\nC,x\n")
        refused(source(path, harmful=True), "line 4, column id", "'x' is already that of line 2")

    def test_malformed_csv(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "text,n\nHow?,1\nWell, why?,1\n")
        refused(source(path), "line 3: 3 cells where the header has 2")
        path = write(tmp_path / "b.csv", 'text,n\nHow?,1\n"Why?,1\nWho?,1\n')
        refused(source(path), "line 3: is not well-formed csv", "quote")
        path = write(tmp_path / "c.csv", "text,text\nHow?,1\n")
        refused(source(path), "line 1: column 'text' is there twice")

    def test_malformed_jsonl(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", '{"text": "How?"}\n{"text": "Why?"\n')
        refused(source(path), "line 2: is not JSON", "one JSON object a line")
        path = write(tmp_path / "b.jsonl", '"How?"\n')
        refused(source(path), "line 1: a JSON object was expected, not str")
        path = write(tmp_path / "c.jsonl", '{"text": 3}\n')
        refused(source(path, harmful=True), "line 1: column 'text' holds int")
        path = write(tmp_path / "d.jsonl", '{"text": "a \\ud800"}\n')
        refused(source(path, harmful=True), "line 1.*lone surrogate")
        path = write(tmp_path / "e.jsonl", '{"text": "a", "harmful": true, "history": ["b"]}\n')
        refused(source(path), "line 1, column history", "role")

    def test_malformed_json(self, tmp_path: Path) -> None:
        for name, text, told in (
            ("a.json", '[{"text": "How?"}', "is not JSON"),
            ("b.json", '{"text": "How?"}', "a JSON list of objects was expected"),
            ("c.json", '[{"text": "How?"}, 3]', "a JSON list of objects was expected"),
            ("d.json", "[" * 100_000, "is not JSON"),
        ):
            refused(source(write(tmp_path / name, text)), told)

    def test_malformed_parquet(self, tmp_path: Path) -> None:
        refused(source(write(tmp_path / "a.parquet", "text")), "is not a parquet file")


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
class TestBenchmarks:
    def test_xstest(self) -> None:
        path = str(DATA / "xstest/xstest_prompts.csv")
        loaded = load_requests(RequestSource(path=path, columns=Columns(harmful="label")))
        assert [sum(r.harmful is side for r in loaded) for side in (True, False)] == [200, 250]
        safe = load_requests(source(path, harmful=False), where={"label": "safe"})
        assert len(safe) == 250

    def test_advbench(self) -> None:
        path = str(DATA / "advbench/harmful_behaviors.csv")
        loaded = load_requests(RequestSource(path=path, harmful=True))
        assert len(loaded) == 520
        assert {r.kind for r in loaded} == {"harmful"}

    def test_strongreject_texts(self) -> None:
        path = str(DATA / "strongreject/strongreject_dataset.csv")
        assert len(load_texts(RequestSource(path=path))) == 313
