"""Weights are told apart by their content, wherever they lie."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from cada.models.fingerprint import fingerprint


def saved(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    return folder


def test_the_same_weights_elsewhere_are_the_same(tmp_path: Path) -> None:
    one = saved(tmp_path / "one", {"w": torch.linspace(0, 1, 210_000)})
    two = Path(shutil.copytree(one, tmp_path / "two"))
    (two / "README.md").write_text("A card.")
    assert fingerprint(str(one)) == fingerprint(str(two))


def test_a_step_of_training_is_seen(tmp_path: Path) -> None:
    """A file of many times the blocks that are read."""
    weights = torch.linspace(0, 1, 3_000_000)
    before = saved(tmp_path / "before", {"w": weights})
    after = saved(tmp_path / "after", {"w": weights + 1e-4})
    assert fingerprint(str(before)) != fingerprint(str(after))


def test_another_end_or_another_size_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    found = set()
    for content in (b"a" * 5000, b"a" * 5001, b"a" * 4999 + b"b", b""):
        file.write_bytes(content)
        found.add(fingerprint(str(file)))
    assert len(found) == 4


def test_a_model_elsewhere_has_none() -> None:
    assert fingerprint("builtin:smollm2-135m") is None
    assert fingerprint("some/model") is None
