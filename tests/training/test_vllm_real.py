"""Training on rollouts of a real vLLM: its weights are the policy's after each update.

CADA_TEST_VLLM_PYTHON=…/bin/python pytest -m vllm
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from cada.errors import CadaError
from cada.files import read_json_lines
from cada.training.trainer import Trainer
from tests.models.tiny import tiny_llama
from tests.rollout.vllm_process import vllm_serving
from tests.training.tiny_run import make_recipe, make_trainer

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

# The fourth step's rollouts show the weights after the third update.
PHASE = {"name": "one", "steps": 4, "loss_context": "cases", "learning_rate": 1e-2}
LIMIT = 1e-2  # nats a token


def save_tiny(builtin_folder: Path, folder: Path, tied: bool) -> Path:
    """A tiny Llama whose heads are wide enough for vLLM's attention on a CPU."""
    tokenizer = AutoTokenizer.from_pretrained(builtin_folder)
    heads = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    tiny_llama(len(tokenizer), tie_word_embeddings=tied, **heads).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(builtin_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with an output head of its own."""
    return save_tiny(builtin_folder, tmp_path_factory.mktemp("model"), tied=False)


@pytest.fixture(scope="module")
def url(model: Path) -> Iterator[str]:
    with vllm_serving(model) as running:
        yield running


def trainer_of(model: Path, out: Path, lora: Any = None, **vllm: Any) -> Trainer:
    rollout = {"engine": "vllm", "vllm": vllm}
    return make_trainer(make_recipe(model, out, [PHASE], rollout=rollout, lora=lora))


def mismatches(out: Path) -> list[float]:
    found = [row["sampler_mismatch"] for row in read_json_lines(out / "metrics.jsonl")]
    print("sampler_mismatch", [f"{value:.2e}" for value in found])
    return found


def check_that_it_learns(trainer: Trainer, out: Path) -> None:
    """Train, and see that every step was sampled from the policy as it then was."""
    trainer.train()
    found = mismatches(out)
    assert len(found) == 4
    assert max(found) < LIMIT
    updates = [row["updates"] for row in read_json_lines(out / "metrics.jsonl")]
    assert updates[:3] == [1, 1, 1]


@pytest.mark.parametrize("lora", [None, {"rank": 4, "alpha": 8}])
def test_the_server_samples_from_the_policy_after_each_update(
    model: Path, url: str, tmp_path: Path, lora: Any
) -> None:
    check_that_it_learns(trainer_of(model, tmp_path, lora, base_url=url), tmp_path)


def test_without_the_weights_the_mismatch_shows_it(model: Path, url: str, tmp_path: Path) -> None:
    """The control: the same run, whose server is told of the first weights alone."""
    trainer = trainer_of(model, tmp_path, base_url=url, mismatch_limit=1e9)
    assert trainer.outside is not None
    trainer.outside.take_weights()
    trainer.outside.take_weights = lambda: None  # type: ignore[method-assign]
    trainer.train()
    first, *later = mismatches(tmp_path)
    assert first < LIMIT
    assert min(later) > LIMIT


def test_a_run_whose_server_has_other_weights_stops(model: Path, url: str, tmp_path: Path) -> None:
    trainer = trainer_of(model, tmp_path, base_url=url)
    assert trainer.outside is not None
    trainer.outside.take_weights()
    trainer.outside.take_weights = lambda: None  # type: ignore[method-assign]
    with pytest.raises(CadaError, match="its weights were not updated"):
        trainer.train()


def test_greedy_completions_are_those_of_the_engine_in_memory(
    model: Path, url: str, tmp_path: Path
) -> None:
    """Token by token, with the stop token and the log-probabilities."""
    from cada.rollout.transformers_engine import make_engine
    from cada.rollout.types import Prompt, Sampling

    trainer = trainer_of(model, tmp_path, base_url=url)
    assert trainer.outside is not None
    trainer.outside.take_weights()
    prompts = [Prompt(str(i), "none", (1, 9, 22), (200 + i, 31)) for i in range(4)]
    here = make_engine(trainer.policy).generate(prompts, 1, Sampling(12, 0.0), 7)
    there = trainer.outside.generate(prompts, 1, Sampling(12, 0.0), 7)
    for (mine,), (theirs,) in zip(here, there, strict=True):
        assert theirs.completion_ids == mine.completion_ids
        assert theirs.finish_reason == mine.finish_reason
        assert theirs.logprobs == pytest.approx(mine.logprobs, abs=1e-3)


def test_stop_tokens_and_prefixes(model: Path, url: str, tmp_path: Path) -> None:
    """A stop token ends a completion and is its last token; a cached prefix changes nothing."""
    from dataclasses import replace

    from cada.rollout.types import Prompt, Sampling
    from cada.training.mismatch import sampler_mismatch

    trainer = trainer_of(model, tmp_path, base_url=url)
    assert trainer.outside is not None
    trainer.outside.take_weights()
    pack = tuple(100 + i % 50 for i in range(300))
    prompts = [Prompt(str(i), "none", pack, (200 + i, 31)) for i in range(4)]
    first = trainer.outside.generate(prompts, 2, Sampling(8, 0.7), 7)
    stop = first[0][0].completion_ids[2]
    trainer.policy.stop_ids = (stop,)
    again = trainer.outside.generate(prompts, 2, Sampling(8, 0.7), 7)
    cut = again[0][0]
    assert cut.completion_ids[-1] == stop
    assert cut.finish_reason == "stop"
    assert stop not in cut.completion_ids[:-1]
    rollouts = [replace(r) for group in [*first, *again] for r in group]
    found = sampler_mismatch(trainer.policy, rollouts, 0.7, 2048, trainer.accelerator.autocast)
    assert found.mean < LIMIT


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_vllm_in_this_process(builtin_folder: Path, tmp_path: Path) -> None:
    """With a tied output head, which vLLM does not bring up to date by itself on a CPU."""
    model = save_tiny(builtin_folder, tmp_path / "model", tied=True)
    trainer = trainer_of(model, tmp_path / "run", mode="colocated", max_model_len=2048)
    check_that_it_learns(trainer, tmp_path / "run")


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_is_missing(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CadaError, match="vLLM is not to be had here") as caught:
        trainer_of(model, tmp_path, mode="colocated")
    assert "pip install 'vllm>=0.32'" in str(caught.value)
    assert "\n" not in str(caught.value)
