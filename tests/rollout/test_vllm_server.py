"""Sampling on a vLLM server: what comes back, the weights' way there, and what goes wrong."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cada.config.recipe import Lora
from cada.config.rollout import VllmOptions
from cada.errors import CadaError
from cada.models.load import Policy, load_policy
from cada.rollout.remembering import RememberingEngine
from cada.rollout.transformers_engine import SharedEngine
from cada.rollout.types import EngineLostError, Prompt, Rollout, Sampling
from cada.rollout.vllm_engine import ServerEngine, make_vllm_engine
from cada.rollout.vllm_server import VllmServer
from tests.rollout.fake_vllm import FakeVllm

PROMPTS = [Prompt(f"r{i}", "none", (1, 9), (200 + i, 31), seed=1000 * i) for i in range(5)]
HOW = Sampling(6, 0.7)


@pytest.fixture
def policy(tiny_folder: Path) -> Policy:
    return load_policy(str(tiny_folder), device="cpu")


@pytest.fixture
def server(tiny_folder: Path) -> Iterator[FakeVllm]:
    """Serves another copy of the tiny model."""
    with FakeVllm(load_policy(str(tiny_folder), device="cpu")).running() as running:
        yield running


@pytest.fixture
def engine(policy: Policy, server: FakeVllm, tmp_path: Path) -> ServerEngine:
    return ServerEngine(policy, server.options(), tmp_path / "weights")


def likeliest(model: Any, token: int) -> None:
    """Make a token far likelier than any other."""
    with torch.no_grad():
        direction = model.model.embed_tokens.weight[token].clone()
        model.model.embed_tokens.weight[token] = 40 * direction
        model.model.norm.weight.copy_(direction.sign() * 5)


def off(rollouts: list[list[Rollout]], policy: Policy) -> float:
    """The largest difference of log-probabilities from those of `policy` at HOW's temperature."""
    worst = 0.0
    for rollout in (r for group in rollouts for r in group):
        ids = torch.tensor([rollout.prompt_ids + rollout.completion_ids])
        with torch.no_grad():
            logits = policy.base(input_ids=ids).logits[0, len(rollout.prompt_ids) - 1 : -1]
        own = (logits / HOW.temperature).log_softmax(-1)
        chosen = own.gather(1, torch.tensor(rollout.completion_ids)[:, None])[:, 0]
        worst = max(worst, float((chosen - torch.tensor(rollout.logprobs)).abs().max()))
    return worst


def test_rollouts_are_those_of_the_engine_in_memory(engine: ServerEngine, policy: Policy) -> None:
    """Both draw completion i of a prompt from its seed + i; this server is as exact."""
    apart = [replace(p, pack_ids=(), request_ids=p.ids) for p in PROMPTS]  # as the server has them
    here = [SharedEngine(policy).generate([p], 3, HOW, 7)[0] for p in apart]
    there = engine.generate(PROMPTS, 3, HOW, 7)
    flat = [(r, s) for g, h in zip(here, there, strict=True) for r, s in zip(g, h, strict=True)]
    assert len(flat) == 15
    for mine, theirs in flat:
        assert theirs == mine


def test_the_stop_token_is_trained_on(
    engine: ServerEngine, server: FakeVllm, policy: Policy
) -> None:
    likeliest(server.policy.base, policy.stop_ids[0])
    (group,) = engine.generate(PROMPTS[:1], 2, HOW, 7)
    for rollout in group:
        assert rollout.completion_ids == (policy.stop_ids[0],)
        assert rollout.logprobs[0] > -0.01
        assert (rollout.finish_reason, rollout.text) == ("stop", "")


def test_prompts_without_seeds_draw_unlike_and_the_same_again(
    engine: ServerEngine, server: FakeVllm
) -> None:
    same = [Prompt("r", "none", (1, 9), (200, 31))] * 3
    first = engine.generate(same, 2, HOW, 7)
    assert len({r.completion_ids for g in first for r in g}) == 6
    assert engine.generate(same, 2, HOW, 7) == first
    assert engine.generate(same, 2, HOW, 8) != first
    assert len({body["seed"] for body in server.bodies}) == 6


def test_nothing_bends_the_policy(engine: ServerEngine, server: FakeVllm, policy: Policy) -> None:
    engine.generate(PROMPTS[:1], 2, Sampling(6, 0.7, 0.9), 7)
    (body,) = server.bodies
    assert body == {
        "model": "tiny", "prompt": [1, 9, 200, 31], "return_token_ids": True, "n": 2,
        "max_tokens": 6, "temperature": 0.7, "top_p": 0.9, "top_k": 0, "min_p": 0.0,
        "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "seed": 0,
        "logprobs": 0, "stop_token_ids": list(policy.stop_ids), "ignore_eos": True,
    }  # fmt: skip


@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8)])
def test_new_weights_reach_the_server(
    tiny_folder: Path, server: FakeVllm, tmp_path: Path, lora: Lora | None
) -> None:
    policy = load_policy(str(tiny_folder), device="cpu", lora=lora)
    engine = ServerEngine(policy, server.options(), tmp_path / "weights")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    assert off(engine.generate(PROMPTS, 2, HOW, 7), policy) > 0.1
    engine.take_weights()
    assert server.resets == 1
    assert off(engine.generate(PROMPTS, 2, HOW, 7), policy) < 1e-4


def refused(options: VllmOptions) -> str:
    server = VllmServer(options)
    with pytest.raises(CadaError) as caught:
        server.check()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_server(policy: Policy) -> None:
    with FakeVllm(policy).running() as gone:
        options = gone.options()
    told = refused(options)
    assert told.startswith(f"{options.base_url}: no vLLM server answers (")
    assert "VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs" in told


def test_no_address() -> None:
    with pytest.raises(CadaError, match="is no address"):
        VllmServer(VllmOptions(base_url="localhost:8000"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": "0.9.2.dev1+g12"}, "runs vLLM 0.9.2.dev1+g12. Install 0.32 or newer"),
        ({"version": 3}, "no reply of a vLLM server"),
        ({"development": False}, "it lacks the development mode. Start it with: VLLM_SERVER_DEV"),
        ({"logprobs_mode": "raw_logprobs"}, "gives raw_logprobs, and training needs processed"),
    ],
)
def test_a_server_of_another_kind(server: FakeVllm, changes: dict[str, Any], told: str) -> None:
    for name, value in changes.items():
        setattr(server, name, value)
    assert told in refused(server.options())


def test_another_name(server: FakeVllm) -> None:
    told = refused(server.options(model="large"))
    assert "the server serves another model: it serves tiny, and not 'large'" in told


def test_another_tokenizer(server: FakeVllm, policy: Policy) -> None:
    own = server.policy.tokenizer
    server.policy.tokenizer = lambda text, **_: {"input_ids": own(text)["input_ids"][::-1]}
    with pytest.raises(CadaError, match="serves another model: its tokenizer is not the recipe"):
        ServerEngine(policy, server.options(), Path("unused"))


def test_a_tied_head_on_a_cpu_is_trained_through_adapters_alone(
    server: FakeVllm, policy: Policy, tiny_folder: Path
) -> None:
    """vLLM 0.32 keeps its packed copy of such a head."""
    server.device = "cpu"
    with pytest.raises(CadaError, match="keeps the output head that it was started with"):
        ServerEngine(policy, server.options(), Path("unused"))
    adapted = load_policy(str(tiny_folder), device="cpu", lora=Lora(rank=4, alpha=8))
    ServerEngine(adapted, server.options(), Path("unused"))
    adapted = load_policy(
        str(tiny_folder), device="cpu", lora=Lora(rank=4, alpha=8, target_modules=["embed_tokens"])
    )
    with pytest.raises(CadaError, match="keeps the output head that it was started with"):
        ServerEngine(adapted, server.options(), Path("unused"))


def test_a_refused_key(
    server: FakeVllm, engine: ServerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "right"
    with pytest.raises(CadaError, match=r"the key is refused\. Set CADA_API_KEY"):
        engine.generate(PROMPTS, 1, HOW, 7)
    monkeypatch.setenv("CADA_API_KEY", "right")
    again = make_vllm_engine(engine.policy, server.options(), engine.folder)
    assert len(again.generate(PROMPTS, 1, HOW, 7)) == 5


def test_a_folder_that_the_server_does_not_see(server: FakeVllm, tmp_path: Path) -> None:
    with pytest.raises(CadaError) as caught:
        VllmServer(server.options()).reload(tmp_path / "nowhere")
    assert "could not take the new weights (status 500: Call to collective" in str(caught.value)
    assert f"sees the folder {tmp_path / 'nowhere'}" in str(caught.value)


def test_a_server_that_others_use(server: FakeVllm, engine: ServerEngine) -> None:
    server.busy = True
    with pytest.raises(CadaError, match="could not empty its prefix cache"):
        engine.take_weights()


def test_a_prompt_that_is_too_long(engine: ServerEngine) -> None:
    """What the server refuses is no loss of the server."""
    with pytest.raises(CadaError, match="status 400: This model's maximum context") as caught:
        engine.generate(PROMPTS, 1, Sampling(2048), 7)
    assert not isinstance(caught.value, EngineLostError)


def shortened(reply: dict[str, Any]) -> dict[str, Any]:
    reply["choices"][0]["logprobs"]["token_logprobs"].pop()
    return reply


def fewer(reply: dict[str, Any]) -> dict[str, Any]:
    reply["choices"].pop()
    return reply


def textual(reply: dict[str, Any]) -> dict[str, Any]:
    reply["choices"][0]["token_ids"] = None
    return reply


@pytest.mark.parametrize(
    ("twist", "told"),
    [
        (shortened, r"6 tokens, 5 log-probs"),
        (fewer, r"1 completions where 2 were asked for"),
        (textual, r"choices\.0\.token_ids: Input should be a valid list"),
        (lambda reply: [], r"this is no reply of a vLLM server"),
    ],
)
def test_a_reply_that_is_none(
    server: FakeVllm, engine: ServerEngine, twist: Any, told: str
) -> None:
    server.twist = twist
    with pytest.raises(CadaError, match=told):
        engine.generate(PROMPTS[:1], 2, HOW, 7)


def test_what_a_dying_server_gave_is_kept(server: FakeVllm, policy: Policy, tmp_path: Path) -> None:
    plain = [Prompt(p.request_id, p.mode, p.pack_ids, p.request_ids) for p in PROMPTS]
    inner = ServerEngine(policy, server.options(concurrency=1), tmp_path / "weights")
    engine = RememberingEngine(inner, tmp_path / "kept")
    server.answers = 3
    with pytest.raises(EngineLostError) as caught:
        engine.generate(plain, 2, HOW, 7)
    assert "3 of 5 prompts are sampled and kept" in str(caught.value)
    assert "\n" not in str(caught.value)
    server.answers = None
    had = {i: list(group) for i, group in caught.value.had.items()}
    groups = engine.generate(plain, 2, HOW, 7)
    assert [[r.request_id for r in g] for g in groups] == [[p.request_id] * 2 for p in plain]
    assert [groups[i] for i in had] == list(had.values())
    asked = [tuple(body["prompt"]) for body in server.bodies]
    assert sorted(asked) == sorted(p.ids for p in plain)
    assert len({body["seed"] for body in server.bodies}) == 5
    assert engine.generate(plain, 2, HOW, 7) == groups
    assert len(server.bodies) == 5


def test_an_aborted_prompt_is_a_lost_one(server: FakeVllm, engine: ServerEngine) -> None:
    """A server that is shut down ends what it is at with `abort`."""

    def aborted(reply: dict[str, Any]) -> dict[str, Any]:
        reply["choices"][0]["finish_reason"] = "abort"
        return reply

    server.twist = aborted
    with pytest.raises(EngineLostError, match="given up: abort"):
        engine.generate(PROMPTS, 1, HOW, 7)
