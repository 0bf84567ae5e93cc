"""Memory foreseen against what an update of a process really takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tests.models.tiny import tiny_llama


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "again"), [(32, False), (32, True), (0, False)])
def test_an_update_takes_what_is_foreseen(
    builtin_folder: Path, tmp_path: Path, rank: int, again: bool
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(builtin_folder)
    shape = {"num_hidden_layers": 12, "hidden_size": 256, "intermediate_size": 1024}
    tiny_llama(8192, **shape).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    script = [sys.executable, "-m", "tests.planning.one_update", str(tmp_path), str(rank), "16"]
    done = subprocess.run(
        [*script, "100", *(["again"] if again else [])],
        capture_output=True,
        text=True,
        check=True,
        # Older C libraries hand no aligned memory out twice: see the docs.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"},
    )
    found = json.loads(done.stdout)
    of_update = ("optimiser", "gradients", "activations", "logits")
    foreseen = sum(found["parts"][name] for name in of_update)
    assert foreseen == pytest.approx(found["peak"] - found["before"], rel=0.25)
