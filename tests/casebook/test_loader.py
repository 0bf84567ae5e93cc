from collections.abc import Callable
from pathlib import Path

import pytest

from cada.casebook.loader import load_casebook
from cada.errors import CadaError

TOP = """\
name: tiny
version: 1.0
licence: MIT
code: Be good.
"""
FIRST = """\
id: alpha
number: 1
name: Alpha
summary: The first.
code:
  short: Decline alpha.
  rules:
    - A rule.
cases:
  - id: a1
    kind: refuse
    request: Do alpha.
    reasoning: That is alpha.
    response: No.
  - id: a2
    kind: comply
    request: Spell alpha.
    reasoning: That is spelling.
    response: It has five letters.
"""
SECOND = FIRST.replace("alpha", "beta").replace("number: 1", "number: 2").replace("id: a", "id: b")

Edit = Callable[[str], str]


def _folder(tmp_path: Path, first: str = FIRST, top: str = TOP) -> Path:
    (tmp_path / "casebook.yaml").write_text(top, encoding="utf-8")
    (tmp_path / "01_alpha.yaml").write_text(first, encoding="utf-8")
    # A number of its own, so that an error about this file is about what the test put in.
    (tmp_path / "02_beta.yaml").write_text(SECOND, encoding="utf-8")
    return tmp_path


def _one_file(tmp_path: Path) -> Path:
    hazards = "".join(
        "  - " + text.replace("\n", "\n    ").rstrip() + "\n" for text in (SECOND, FIRST)
    )
    path = tmp_path / "all.yaml"
    path.write_text(f"{TOP}hazards:\n{hazards}", encoding="utf-8")
    return path


def test_a_folder_and_a_single_file_give_the_same_casebook(tmp_path: Path) -> None:
    casebook = load_casebook(_folder(tmp_path))
    assert [hazard.id for hazard in casebook.hazards] == ["alpha", "beta"]
    assert casebook == load_casebook(str(_one_file(tmp_path)))


def test_cases_get_the_hazard_of_their_file_and_text_stays_text(tmp_path: Path) -> None:
    casebook = load_casebook(_folder(tmp_path, FIRST.replace("It has five letters.", "no")))
    assert {case.hazard for case in casebook.hazard("alpha").cases} == {"alpha"}
    assert casebook.version == "1.0"
    assert casebook.hazard("alpha").cases[1].response == "no"


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "casebook.yaml").write_bytes(b"\xef\xbb\xbf" + TOP.encode())
    assert load_casebook(folder).name == "tiny"


def _replace(old: str, new: str) -> Edit:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return edit


@pytest.mark.parametrize(
    ("edit", "line", "what", "mend"),
    [
        pytest.param(
            _replace("id: a2", "id: a2\n    hazard: gamma"),
            16,
            "the case 'a2' names the unknown hazard 'gamma'",
            "use one of: alpha, beta",
            id="unknown hazard",
        ),
        pytest.param(
            _replace("id: a2", "id: a2\n    hazard: beta"),
            16,
            "names the hazard 'beta' but stands under 'alpha'",
            "Move the case",
            id="case under another hazard",
        ),
        pytest.param(
            lambda text: text[: text.index("cases:")],
            1,
            "the hazard 'alpha' has no cases",
            "Add at least one under `cases`",
            id="no cases field",
        ),
        pytest.param(
            lambda text: text[: text.index("cases:")] + "cases:\n",
            9,
            "the hazard 'alpha' has no cases",
            "Add at least one under `cases`",
            id="empty cases",
        ),
        pytest.param(
            lambda text: text[: text.index("cases:")] + "cases: []\n",
            9,
            "the hazard 'alpha' has no cases",
            "Add at least one under `cases`",
            id="empty list of cases",
        ),
        pytest.param(
            _replace("id: a2", "id: a1"),
            15,
            "the case id 'a1' is used twice, first in {file}, line 10",
            "Give one of the two another",
            id="duplicate case id",
        ),
        pytest.param(
            _replace("summary:", "name: Again\nsummary:"),
            4,
            "the field 'name' is given twice, first in line 3",
            "Keep one",
            id="duplicate key",
        ),
        pytest.param(
            _replace("kind: comply", "kind: allow"),
            16,
            "the field 'kind' of the case 'a2' has a wrong value 'allow'",
            "Use `refuse`",
            id="wrong kind",
        ),
        pytest.param(
            _replace("reasoning: That is spelling.", "resoning: That is spelling."),
            18,
            "the case 'a2' has the unknown field 'resoning'",
            "Perhaps `reasoning` is meant",
            id="misspelt field",
        ),
        pytest.param(
            _replace("summary:", "zzz: 1\nsummary:"),
            4,
            "the hazard 'alpha' has the unknown field 'zzz'",
            "Known fields: id, number",
            id="unknown field",
        ),
        pytest.param(
            _replace("  short: Decline alpha.\n", ""),
            5,
            "the code of the hazard 'alpha' lacks the field 'short'",
            "Add `short: ...`",
            id="missing field",
        ),
        pytest.param(
            _replace("response: No.", "response:"),
            14,
            "the field 'response' of the case 'a1' is empty",
            "Write its text",
            id="empty field",
        ),
        pytest.param(
            _replace("- A rule.", "- A rule: with a colon"),
            8,
            "the field 'rules, entry 1' of the code of the hazard 'alpha' has a wrong value",
            "quote it when it contains a colon",
            id="mapping for a text",
        ),
        pytest.param(
            _replace("number: 1", "number: one"),
            2,
            "the field 'number' of the hazard 'alpha' has a wrong value 'one'",
            "Give a whole number from 1 on",
            id="number in words",
        ),
        pytest.param(
            _replace("number: 1", "number: 13"),
            2,
            "the hazard number 13 is reserved",
            "from 14 on",
            id="reserved number",
        ),
        pytest.param(
            _replace("id: alpha", "id: Alpha one"),
            1,
            "has a wrong value 'Alpha one'",
            "small letters",
            id="odd hazard id",
        ),
        pytest.param(
            _replace("Decline alpha.", "word " * 61),
            6,
            "the short code has 61 words; at most 60",
            "Shorten it",
            id="long short code",
        ),
        pytest.param(
            _replace("name: Alpha", 'name: "Alpha'),
            20,
            "this is not valid YAML",
            "Check the indentation",
            id="broken YAML",
        ),
        pytest.param(
            _replace("request: Do alpha.", "request: Do: alpha."),
            12,
            "this is not valid YAML: mapping values are not allowed here",
            "quote texts that contain a colon",
            id="unquoted colon",
        ),
        pytest.param(
            _replace("summary: The first.", "summary: The\x07first."),
            4,
            "the character U+0007 is not allowed",
            "Delete it",
            id="control character",
        ),
        pytest.param(
            lambda text: text.replace("name: Alpha", "name: &n Alpha").replace("The first.", "*n"),
            4,
            "YAML aliases (`*name`) are not supported",
            "Write the text out",
            id="alias",
        ),
        pytest.param(
            _replace("summary: The first.", "[summary]: The first."),
            4,
            "a field name must be plain text",
            "Quote texts",
            id="list as key",
        ),
        pytest.param(
            lambda text: "- " + text.replace("\n", "\n  "),
            None,
            "this is not a mapping",
            "cada casebook new",
            id="list at the top",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_remedy(
    tmp_path: Path, edit: Edit, line: int | None, what: str, mend: str
) -> None:
    folder = _folder(tmp_path, first=edit(FIRST))
    file = folder / "01_alpha.yaml"
    with pytest.raises(CadaError) as caught:
        load_casebook(folder)
    assert "\n" not in str(caught.value)
    assert (caught.value.where or "").startswith(f"{file}, line {line}" if line else str(file))
    assert what.format(file=file) in caught.value.what
    assert mend in (caught.value.mend or "")


@pytest.mark.parametrize(
    ("change", "line", "what"),
    [
        ("id: alpha", 1, "the hazard id 'alpha' is used twice, first in {first}, line 1"),
        ("number: 1", 2, "the hazard number '1' is used twice, first in {first}, line 2"),
    ],
)
def test_two_hazards_may_not_share_an_id_or_a_number(
    tmp_path: Path, change: str, line: int, what: str
) -> None:
    folder = _folder(tmp_path)
    second = folder / "02_beta.yaml"
    lines = SECOND.splitlines()
    lines[line - 1] = change
    second.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(CadaError) as caught:
        load_casebook(folder)
    assert caught.value.where == f"{second}, line {line}"
    assert caught.value.what == what.format(first=folder / "01_alpha.yaml")


def test_another_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "01_alpha.yaml").write_bytes(
        FIRST.replace("The first", "Die höchste").encode("cp1252")
    )
    with pytest.raises(CadaError, match=r"01_alpha\.yaml, line 4: .*not UTF-8 text \(byte 0xf6\)"):
        load_casebook(folder)


def test_the_overall_code_is_short_too(tmp_path: Path) -> None:
    folder = _folder(tmp_path, top=TOP.replace("Be good.", "word " * 70))
    with pytest.raises(CadaError, match=r"casebook\.yaml, line 4, field 'code': .* 70 words"):
        load_casebook(folder)


def test_a_missing_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match=r"nowhere: there is no such file\. .*`default`"):
        load_casebook(tmp_path / "nowhere")


def test_a_folder_without_casebook_yaml_is_told(tmp_path: Path) -> None:
    with pytest.raises(CadaError, match=r"casebook\.yaml: there is no such file"):
        load_casebook(tmp_path)


def test_a_folder_without_hazards_is_told(tmp_path: Path) -> None:
    (tmp_path / "casebook.yaml").write_text(TOP, encoding="utf-8")
    with pytest.raises(CadaError, match="the casebook has no hazard"):
        load_casebook(tmp_path)


def test_hazards_in_the_top_file_of_a_folder_are_told(tmp_path: Path) -> None:
    folder = _folder(tmp_path, top=TOP + "hazards: []\n")
    with pytest.raises(CadaError, match=r"casebook\.yaml, line 5: in a folder each hazard"):
        load_casebook(folder)


def test_a_single_file_without_hazards_is_told(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(TOP, encoding="utf-8")
    with pytest.raises(CadaError, match=r"all\.yaml, line 1: the casebook has no hazards"):
        load_casebook(path)
