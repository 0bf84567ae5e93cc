"""A model's folder keeps the prompting of its training."""

from pathlib import Path

import pytest

from cada.config.recipe import Prompting
from cada.errors import CadaError
from cada.models.trained import prompting_of, save_prompting


def test_the_prompting_is_read_back(tmp_path: Path) -> None:
    used = Prompting(style="think_tags", cases=2, verdict=True, refuse_share="matched")
    save_prompting(tmp_path, used)
    assert prompting_of(str(tmp_path)) == used
    assert prompting_of(str(tmp_path), "headings") == used.model_copy(update={"style": "headings"})


@pytest.mark.parametrize("model", ["builtin:smollm2-135m", "some/model", "here"])
def test_a_model_that_says_nothing_has_the_defaults(tmp_path: Path, model: str) -> None:
    where = str(tmp_path) if model == "here" else model
    assert prompting_of(where) == Prompting()
    assert prompting_of(where, "think_tags") == Prompting(style="think_tags")


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"{}", b'{"prompting": {"cases": 0}}', b'{"prompting": []}', b"\xff"]
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cada.json").write_bytes(content)
    with pytest.raises(CadaError, match=r"prompting cannot be read") as error:
        prompting_of(str(tmp_path))
    assert str(tmp_path / "cada.json") in str(error.value)
