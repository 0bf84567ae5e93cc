"""The benchmark's two sides do the same work: TRL's own loss and gradients are ours."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.llama.modeling_llama import LlamaRMSNorm

pytest.importorskip("trl")

from benchmarks.speed import plot
from benchmarks.speed.cases import (
    Bench,
    fits_case,
    growth_case,
    halving_token,
    memory_case,
    rollouts_case,
    slope,
    step_case,
    update_case,
    update_flops,
)
from benchmarks.speed.clock import Clock
from benchmarks.speed.ours import PHASE, Ours
from benchmarks.speed.peer import Peer, generate, generate_continuously, on_completions
from benchmarks.speed.work import (
    Shape,
    padded_tokens,
    part_of,
    prompts_of,
    samples_of,
    unique_tokens,
    whole_tokens,
)
from cada.models.load import Policy
from cada.models.shared_prefix import NAME
from cada.rollout.types import Sampling
from cada.training.objective import Normaliser, policy_loss
from cada.training.update import completion_stats
from tests.models.tiny import policy_of, tiny_llama
from tests.training.test_logprobs import exact_norm

ROOT = Path(__file__).parents[2]
# Prompts of unequal lengths, so that TRL pads; three packs; groups of four.
SHAPE = Shape(packs=3, pack=24, requests=4, request=3, group=4, completion=9, spread=6)


def plain_descent(policy: Policy) -> torch.optim.SGD:
    return torch.optim.SGD(policy.base.parameters(), lr=0.0)


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> Policy:
    """In float64 with norms in float64, so that what differs is a fault and no rounding."""
    monkeypatch.setattr(LlamaRMSNorm, "forward", exact_norm)
    return policy_of(tiny_llama(vocabulary=128).double())


def worst(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    assert one.keys() == two.keys()
    return max(float((one[n] - two[n]).norm() / two[n].norm()) for n in two)


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "plain twin"])
@pytest.mark.parametrize("completion_head", [True, False])
def test_trls_update_has_our_loss_and_gradients(
    policy: Policy, shared: bool, completion_head: bool
) -> None:
    samples = samples_of(SHAPE, 128)
    optimiser = plain_descent(policy)
    peer = Peer(policy, optimiser, samples, rows=2)
    theirs: dict[str, Tensor] = {}
    prepared = peer.update(Clock(), completion_head=completion_head, kept=theirs)
    peer.close()
    summed, mine = Ours(policy, optimiser, tokens=64).gradients(samples, shared=shared)
    wanted = torch.tensor([s.advantage for s in samples])
    torch.testing.assert_close(prepared["advantages"], wanted, rtol=1e-5, atol=1e-6)
    # TRL keeps its log-probabilities and advantages in float32.
    gap = (prepared["old_logps"].double() - summed).norm() / summed.norm()
    assert float(gap) < 1e-6
    assert worst(mine, theirs) < 1e-6


def test_trls_loss_off_the_policy_is_our_weighted_one(policy: Policy) -> None:
    """With old log-probabilities that are off, its loss is −mean(A · ratio), ratios unclipped."""
    samples = samples_of(SHAPE, 128)
    optimiser = plain_descent(policy)
    peer = Peer(policy, optimiser, samples, rows=4)
    prepared = peer.prepare()
    shift = torch.linspace(-0.1, 0.1, len(samples))
    loss = peer.backward(prepared | {"old_logps": prepared["old_logps"] - shift})
    theirs = {n: p.grad.clone() for n, p in policy.base.named_parameters() if p.grad is not None}
    peer.close()
    ratios = shift.exp().tolist()
    expected = -sum(s.advantage * r for s, r in zip(samples, ratios, strict=True)) / len(samples)
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    weighted = [s.with_advantage(s.advantage * r) for s, r in zip(samples, ratios, strict=True)]
    _, mine = Ours(policy, optimiser, tokens=64).gradients(weighted)
    assert worst(mine, theirs) < 1e-4


def test_a_wrong_advantage_shows_in_the_gradients(policy: Policy) -> None:
    samples = samples_of(SHAPE, 128)
    optimiser = plain_descent(policy)
    peer = Peer(policy, optimiser, samples, rows=4)
    theirs: dict[str, Tensor] = {}
    peer.update(Clock(), kept=theirs)
    peer.close()
    changed = [samples[0].with_advantage(samples[0].advantage + 0.1), *samples[1:]]
    _, mine = Ours(policy, optimiser, tokens=64).gradients(changed)
    assert worst(mine, theirs) > 1e-3


def test_our_timed_update_takes_the_step_of_those_gradients(policy: Policy) -> None:
    samples = samples_of(SHAPE, 128)
    model = policy.base
    _, gradients = Ours(policy, plain_descent(policy), tokens=64).gradients(samples)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    size = torch.stack([g.norm() for g in gradients.values()]).norm()
    Ours(policy, torch.optim.SGD(model.parameters(), lr=1.0), tokens=64).update(samples)
    moved = {n: before[n] - p.detach() for n, p in model.named_parameters()}
    clipped = {n: g / max(1.0, float(size)) for n, g in gradients.items()}
    assert worst(moved, clipped) < 1e-5


def test_the_loss_is_rloos(policy: Policy) -> None:
    samples = samples_of(SHAPE, 128)
    policy.model.set_attn_implementation(NAME)
    stats = completion_stats(policy, samples, 1.0)
    loss = policy_loss(samples, stats, PHASE, Normaliser.of(samples))
    summed, _ = Ours(policy, plain_descent(policy), tokens=64).gradients(samples)
    advantages = torch.tensor([s.advantage for s in samples]).to(summed)
    assert loss.item() == pytest.approx(-float((advantages * summed).mean()), rel=1e-6)


def test_what_is_patched_in_trl_is_put_back() -> None:
    utils = importlib.import_module("trl.trainer.utils")
    own = utils._use_triton
    with on_completions(True):
        assert utils._use_triton(torch.device("cpu"))
    assert utils._use_triton is own


def test_both_sides_give_the_same_greedy_tokens() -> None:
    policy = policy_of(tiny_llama(vocabulary=128))
    prompts = prompts_of(SHAPE, 128)
    for stops in [(), (5, 17, 40)]:
        mine = Ours(policy, plain_descent(policy), 64).sample(prompts, 2, Sampling(12, 0.0), stops)
        theirs = generate(policy, prompts, 2, 12, stops)
        assert [list(r.completion_ids) for r in mine] == theirs
        assert stops or {len(t) for t in theirs} == {12}


@pytest.mark.slow
def test_continuous_batching_gives_them_too() -> None:
    policy = policy_of(tiny_llama(vocabulary=128))
    prompts = prompts_of(SHAPE, 128)[:2]
    assert generate_continuously(policy, prompts, 1, 4) == generate(policy, prompts, 1, 4, ())


def test_trl_samples_rows_of_full_length() -> None:
    policy = policy_of(tiny_llama(vocabulary=128))
    peer = Peer(policy, plain_descent(policy), samples_of(SHAPE, 128), rows=4)
    peer.never_stop()
    assert [len(ids) for ids in peer.sample()] == [SHAPE.completion] * SHAPE.rows


def test_tokens_are_counted_as_each_side_computes_them() -> None:
    samples = samples_of(SHAPE, 128)
    requests = [3, 5, 7, 9]
    assert [len(p.request_ids) for p in prompts_of(SHAPE, 128)] == requests
    assert unique_tokens(samples) == 3 * 24 + sum(requests) + 16 * 8
    assert padded_tokens(samples) == 16 * (24 + 9 + 9)
    assert whole_tokens(samples) == sum(4 * (24 + r + 9) for r in requests)


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_a_part_is_whole_groups_with_the_longest(groups: int) -> None:
    samples = samples_of(SHAPE, 128)
    part = part_of(samples, groups)
    assert len(part) == 4 * groups
    assert len({s.group for s in part}) == groups
    assert padded_tokens(part) * len(samples) == padded_tokens(samples) * len(part)


def test_advantages_leave_one_out() -> None:
    group = samples_of(SHAPE, 128)[:4]
    rewards = [float(s.reward or 0) for s in group]
    for s, r in zip(group, rewards, strict=True):
        assert s.advantage == pytest.approx(r - (sum(rewards) - r) / 3)


def test_operations_are_counted_as_the_profiler_counts_them() -> None:
    """But for the entropy, and for attention, which it leaves out on a CPU."""
    policy = policy_of(tiny_llama(vocabulary=128, hidden_size=64, intermediate_size=160))
    samples = samples_of(Shape(1, 30, 1, 4, 2, 8), 128)
    wanted = update_flops(policy, samples)
    with FlopCounterMode(display=False) as counter:
        stats = completion_stats(policy, samples, 1.0)
        policy_loss(samples, stats, PHASE, Normaliser.of(samples)).backward()  # type: ignore[no-untyped-call]
    entropy = 2 * 128 * 16
    pairs = sum(range(1, 31)) + sum(range(31, 35)) + 2 * sum(range(35, 42))
    attention = 3 * (2 * 2 * 64 * pairs) * 2
    assert wanted == counter.get_total_flops() - entropy + attention


def test_the_token_that_halves() -> None:
    assert halving_token([(4, 5, 6, 7), (4, 6, 5, 7)]) in (5, 6)


def test_the_slope_is_the_power() -> None:
    points = [{"tokens_unique": n, "ours_s": 3 * n**1.5} for n in (10, 30, 500)]
    assert slope(points, "ours_s") == pytest.approx(1.5)


def tiny_bench(**changes: Any) -> Bench:
    policy = policy_of(tiny_llama(vocabulary=128))
    made: dict[str, Any] = {"rows": 2, "tokens": 256, "scale": 0.02, **changes}
    return Bench(policy, plain_descent(policy), **made)


def test_every_case_gives_its_line(tmp_path: Path) -> None:
    row = update_case(tiny_bench(part=3), "batch")
    assert row["gradients_agree"] is True
    assert row["peer_part"] == pytest.approx(3 / 16)
    names = {"case", "ours_s", "peer_s", "ratio", "limit"}
    product = 1.0
    for factor in row["gain_by"].values():
        product *= factor
    assert product == pytest.approx(row["peer_s"] / row["ours_s"])
    step = step_case(tiny_bench(part=4), "step")
    assert step["equal_lengths"]
    assert step["ours_s"] == pytest.approx(step["ours_rollout_s"] + step["ours_update_s"])
    for name in ("rollouts", "finished"):
        rollouts = rollouts_case(tiny_bench(scale=0.1), name)
        assert rollouts["equal_completions"] == 1
        assert names - {"limit"} <= rollouts.keys()
    assert names <= row.keys()
    assert fits_case(tiny_bench(), "fits")["tokens_unique"] > 0
    growth = growth_case(tiny_bench(), "growth")
    assert {p["grows"] for p in growth["points"]} == {"pack", "group", "requests", "model"}
    models = [p["weights"] for p in growth["points"] if p["grows"] == "model"]
    assert models == sorted(set(models))
    assert len(models) > 1
    for line in (row, step, rollouts, growth):
        json.dumps(line)
    about = {"model": "tiny", "threads": 1, "device": "cpu"}
    (tmp_path / "lines").write_text(f"update: 1 s\n{json.dumps(growth | about)}\n", "utf-8")
    plot.main(tmp_path / "lines", tmp_path / "growth.svg")
    drawn = (tmp_path / "growth.svg").read_text("utf-8")
    for words in ("tokens of the pack", "weights of the model", "tiny, 1 threads of a cpu"):
        assert words in drawn
    (tmp_path / "lines").write_text(json.dumps(row), "utf-8")
    with pytest.raises(typer.BadParameter, match="no line of the case growth"):
        plot.main(tmp_path / "lines", tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()


@pytest.mark.slow
def test_memory_is_measured_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    row = memory_case(tiny_bench(arguments=["--random", "tiny", "--scale", "0.5"]), "memory")
    assert 0 < row["ours_peak_mb"] < row["peer_peak_mb"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_freed_memory_is_kept_when_told() -> None:
    script = """
import re, sys
from pathlib import Path
from benchmarks.speed.clock import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
held = lambda: int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = held()
block = bytearray(b"1") * 200_000_000
del block
print(held() - before)
"""
    kept = {}
    for how in ("keep", "free"):
        command = [sys.executable, "-c", script, how]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        kept[how] = int(done.stdout)  # kB
    assert kept["keep"] > 150_000
    assert kept["free"] < 50_000
