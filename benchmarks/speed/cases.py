"""The cases: each gives one line, a dictionary that JSON can hold."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import log
from statistics import linear_regression, median
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.clock import Clock, Peak, matrix_rate
from benchmarks.speed.ours import Ours
from benchmarks.speed.peer import Peer, generate, generate_continuously, on_completions
from benchmarks.speed.work import (
    FORWARD,
    TRAIN,
    Shape,
    padded_tokens,
    part_of,
    prompts_of,
    samples_of,
    unique_tokens,
    whole_tokens,
)
from cada.models.load import Policy
from cada.rollout.types import Sampling
from cada.training.logprobs import forest_of
from cada.training.samples import Sample

Row = dict[str, Any]
# The largest relative distance of two gradients that are called equal.
AGREE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 5e-2}

SHAPES = {
    "update": Shape(1, 630, 1, 20, 8, 150),
    "batch": Shape(3, 600, 16, 20, 4, 100, spread=30),
    "step": Shape(3, 600, 16, 20, 4, 100, spread=30),
    "rollouts": Shape(1, 600, 64, 16, 1, 96),
    "finished": Shape(1, 150, 32, 16, 1, 96),
    "memory": Shape(1, 630, 1, 20, 8, 150),
    "short": Shape(1, 40, 1, 20, 2, 400),
    "gpu": Shape(1, 630, 1, 20, 8, 300),
    "fits": Shape(1, 630, 8, 20, 8, 300),
}
WARM_UP = Shape(1, 16, 1, 4, 2, 8)


@dataclass
class Bench:
    """A policy and how to measure it."""

    policy: Policy
    optimiser: Any
    repeats: int = 1
    minutes: float = 8.0
    rows: int = 2
    tokens: int = 4096
    part: int | None = None
    scale: float = 1.0
    continuous: bool = False
    arguments: list[str] = field(default_factory=list)

    def shape(self, case: str) -> Shape:
        """The case's sizes, scaled."""
        return SHAPES[case].sized(self.scale)

    def samples(self, shape: Shape) -> list[Sample]:
        """The case's batch."""
        return samples_of(shape, self.policy.base.config.vocab_size)

    def ours(self) -> Ours:
        """Our side."""
        return Ours(self.policy, self.optimiser, self.tokens)

    def peer(self, samples: list[Sample], *, checkpointing: bool = False) -> Peer:
        """TRL's side, on these samples."""
        return Peer(
            self.policy, self.optimiser, samples, rows=self.rows, checkpointing=checkpointing
        )

    def repeat(self, once: Callable[[], None]) -> int:
        """Run so often, or until another time would take more than the minutes there are."""
        started = time.perf_counter()
        for done in range(1, self.repeats + 1):
            once()
            spent = time.perf_counter() - started
            if spent * (done + 1) / done > self.minutes * 60:
                return done
        return self.repeats


def update_case(bench: Bench, case: str) -> Row:
    """An update by both sides and by what lies between them, one after the other each time."""
    samples = bench.samples(bench.shape(case))
    part = part_of(samples, bench.part) if bench.part else samples
    times = len(samples) / len(part)
    ours, peer = bench.ours(), bench.peer(part)
    clock, lean = Clock(), Clock()
    kept: dict[str, Tensor] = {}
    prepared: list[Row] = []

    def once() -> None:
        with clock.time("ours"):
            ours.update(samples)
        prepared[:] = [peer.update(clock, kept=None if kept else kept)]
        with on_completions(True):
            peer.train(prepared[0], lean)
        if "plain" not in clock.wall:  # once: it only splits the gain
            with clock.time("plain"):
                ours.update(part, shared=False)

    # Who goes first touches the memory that both use then, and makes the optimiser's state.
    ours.update(part)
    if bench.policy.device.type == "cuda":  # kernels are compiled on their first use
        peer.update(Clock())
        ours.update(samples)
    repeats = bench.repeat(once)
    peer.close()
    rate = matrix_rate(bench.policy.device, bench.policy.base.dtype)
    row = agreement(ours, part, prepared[0], kept)
    full = {
        "peer": [times * s for s in clock.sums(["old", "train", "step"])],
        "no_old": [times * s for s in clock.sums(["train", "step"])],
        "lean": [times * s for s in lean.sums(["train", "step"])],
    }
    mine = clock.wall["ours"]
    ratios = {n: [p / o for p, o in zip(v, mine, strict=True)] for n, v in full.items()}
    middle = {n: median(v) for n, v in full.items()}
    plain = times * clock.seconds("plain")
    own_cpu = clock.seconds("ours", cpu=True)
    padded, unique = padded_tokens(samples), unique_tokens(samples)
    flops = update_flops(bench.policy, samples)
    return {
        "case": case,
        "ours_s": median(mine),
        "peer_s": middle["peer"],
        "ratio": median(ratios["peer"]),
        "ratio_range": [min(ratios["peer"]), max(ratios["peer"])],
        "limit": padded * (FORWARD + TRAIN) / (unique * TRAIN),
        "ratio_no_old_pass": median(ratios["no_old"]),
        "limit_no_old_pass": padded / unique,
        "ratio_lean": median(ratios["lean"]),
        "ratio_lean_range": [min(ratios["lean"]), max(ratios["lean"])],
        "ratio_plain": plain / median(mine),
        "ratio_cpu": times * clock.seconds("old", "train", "step", cpu=True) / own_cpu,
        "ratio_lean_cpu": times * lean.seconds("train", "step", cpu=True) / own_cpu,
        "gain_by": {
            "no_old_pass": middle["peer"] / middle["no_old"],
            "completion_head": middle["no_old"] / middle["lean"],
            "no_padding": middle["lean"] / plain,
            "sharing": plain / median(mine),
        },
        "tokens_padded": padded,
        "tokens_whole": whole_tokens(samples),
        "tokens_unique": unique,
        "flops_per_s": flops / median(mine),
        "matrix_flops_per_s": rate,
        "matrix_share": flops / median(mine) / rate,
        "peer_part": len(part) / len(samples),
        "repeats": repeats,
        **row,
    }


def agreement(ours: Ours, samples: list[Sample], prepared: Row, theirs: dict[str, Tensor]) -> Row:
    """How far both sides' losses and gradients lie apart, on the same ids and rewards."""
    summed, mine = ours.gradients(samples)
    advantages = torch.tensor([s.advantage for s in samples]).to(summed)
    loss = -(advantages * summed).mean()
    their_loss = -(prepared["advantages"].to(summed) * prepared["old_logps"].to(summed)).mean()
    size = (advantages * summed).abs().mean()
    gap, norm, worst = 0.0, 0.0, 0.0
    for name, value in theirs.items():
        far, length = float((mine[name] - value).norm()), float(value.norm())
        gap, norm = gap + far**2, norm + length**2
        worst = max(worst, far / length if length else 0.0)
    found = (gap / norm) ** 0.5
    same = mine.keys() == theirs.keys()
    return {
        "gradients_agree": same and found <= AGREE[ours.policy.base.dtype],
        "gradient_gap": found,
        "gradient_gap_worst_weight": worst,
        "loss_gap": float((loss - their_loss).abs() / size),
    }


def update_flops(policy: Policy, samples: list[Sample]) -> float:
    """Floating-point operations of the matrix products of one update, each token once.

    2 a weight and token forwards, 4 backwards; the head on completion tokens alone; attention to
    ancestors and, causally, to the own segment. What is computed a second time counts once.
    """
    model = policy.base
    head = model.get_output_embeddings().weight
    embedding = model.get_input_embeddings().weight
    body = sum(p.numel() for p in model.parameters() if p.ndim > 1) - embedding.numel()
    if head is not embedding:
        body -= head.numel()
    forest, predicted = forest_of(samples)
    pairs = sum(n * (d + (n + 1) / 2) for n, d in zip(forest.lengths, forest.depths, strict=True))
    config = model.config
    width = config.num_attention_heads * getattr(
        config, "head_dim", config.hidden_size // config.num_attention_heads
    )
    attention = 4 * width * pairs * config.num_hidden_layers
    products = 2 * body * sum(forest.lengths) + 2 * head.numel() * len(predicted)
    return float(3 * (products + attention))


def step_case(bench: Bench, case: str) -> Row:
    """A whole step: completions of full length are sampled, then one update from as many."""
    shape = bench.shape(case)
    samples = bench.samples(shape)
    part = part_of(samples, bench.part) if bench.part else samples
    times = len(samples) / len(part)
    ours = bench.ours()
    prompts = prompts_of(shape, bench.policy.base.config.vocab_size)
    clock = Clock()
    sampling = Sampling(shape.completion)
    lengths: set[int] = set()
    ours.update(part)

    def once() -> None:
        with clock.time("ours_rollout"):
            mine = ours.sample(prompts, shape.group, sampling, ())
        with clock.time("ours_update"):
            ours.update(samples)
        whole = bench.peer(samples)
        whole.never_stop()
        with clock.time("peer_rollout"):
            theirs = whole.sample()
        whole.close()
        lengths.update([*(len(r.completion_ids) for r in mine), *map(len, theirs)])
        peer = bench.peer(part)
        peer.update(clock)
        peer.close()

    repeats = bench.repeat(once)
    updates = [times * s for s in clock.sums(["old", "train", "step"])]
    theirs = [a + b for a, b in zip(clock.wall["peer_rollout"], updates, strict=True)]
    mine = clock.sums(["ours_rollout", "ours_update"])
    ratios = [t / m for t, m in zip(theirs, mine, strict=True)]
    return {
        "case": case,
        "ours_s": median(mine),
        "peer_s": median(theirs),
        "ratio": median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "ours_rollout_s": clock.seconds("ours_rollout"),
        "ours_update_s": clock.seconds("ours_update"),
        "peer_rollout_s": clock.seconds("peer_rollout"),
        "peer_update_s": median(updates),
        "equal_lengths": lengths == {shape.completion},
        "peer_part": len(part) / len(samples),
        "repeats": repeats,
    }


def rollouts_case(bench: Bench, case: str) -> Row:
    """Greedy completions of full length: ours, `generate`, and continuous batching where it runs.

    In the case `finished` rows end at a token that about halves their length.
    """
    shape = bench.shape(case)
    prompts = prompts_of(shape, bench.policy.base.config.vocab_size)
    ours, clock = bench.ours(), Clock()
    greedy = Sampling(shape.completion, temperature=0)
    stops: tuple[int, ...] = ()
    if case == "finished":
        found = ours.sample(prompts, shape.group, greedy, ())
        stops = (halving_token([r.completion_ids for r in found]),)
    outputs: list[list[list[int]]] = [[], []]

    def once() -> None:
        with clock.time("ours"):
            mine = ours.sample(prompts, shape.group, greedy, stops)
        with clock.time("peer"):
            theirs = generate(bench.policy, prompts, shape.group, shape.completion, stops)
        outputs[:] = [[list(r.completion_ids) for r in mine], theirs]

    repeats = bench.repeat(once)
    ratios = [p / o for p, o in zip(clock.wall["peer"], clock.wall["ours"], strict=True)]
    equal = sum(a == b for a, b in zip(*outputs, strict=True))
    row: Row = {
        "case": case,
        "ours_s": clock.seconds("ours"),
        "peer_s": clock.seconds("peer"),
        "ratio": median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "ratio_cpu": clock.seconds("peer", cpu=True) / clock.seconds("ours", cpu=True),
        "mean_tokens": sum(map(len, outputs[0])) / len(outputs[0]),
        "equal_completions": equal / len(outputs[0]),
        "repeats": repeats,
    }
    if bench.continuous and not stops:
        row |= continuous(bench, shape, clock.seconds("ours"))
    return row


def continuous(bench: Bench, shape: Shape, ours_s: float) -> Row:
    """Continuous batching on the same prompts."""
    prompts = prompts_of(shape, bench.policy.base.config.vocab_size)
    generate_continuously(bench.policy, prompts[:1], 1, 2)
    clock = Clock()
    with clock.time("continuous"):
        generate_continuously(bench.policy, prompts, shape.group, shape.completion)
    seconds = clock.seconds("continuous")
    return {"continuous_batching_s": seconds, "ratio_continuous": seconds / ours_s}


def halving_token(rows: list[tuple[int, ...]]) -> int:
    """The token at whose first place the rows, cut there, have about half their length."""
    half = sum(map(len, rows)) / 2

    def left(token: int) -> int:
        return sum(r.index(token) + 1 if token in r else len(r) for r in rows)

    return min({t for r in rows for t in r}, key=lambda t: (abs(left(t) - half), t))


def memory_case(bench: Bench, case: str) -> Row:
    """The most memory that an update holds above the loaded model, each side in its own process.

    TRL with the whole group in one pass, as ours; in passes of `rows`; and with checkpointing.
    """

    def peak(side: str) -> float:
        command = [sys.executable, "-m", "benchmarks.speed", case, "--side", side]
        done = subprocess.run(
            [*command, *bench.arguments], check=True, capture_output=True, text=True
        )
        return float(done.stdout.split()[-1])

    ours, peer = peak("ours"), peak("peer")
    return {
        "case": case,
        "ours_peak_mb": ours,
        "peer_peak_mb": peer,
        "ratio": ours / peer,
        "peer_passes_peak_mb": peak("peer-passes"),
        "peer_checkpointing_peak_mb": peak("peer-checkpointing"),
    }


def peak_of(bench: Bench, case: str, side: str) -> float:
    """One side's peak in MB, in this process."""
    samples = bench.samples(bench.shape(case))
    if side == "ours":
        ours = bench.ours()
        peak = Peak(bench.policy.device)
        ours.update(samples)
        return peak.megabytes()
    own = bench if side == "peer-passes" else replace(bench, rows=len(samples))
    peer = own.peer(samples, checkpointing=side == "peer-checkpointing")
    peak = Peak(bench.policy.device)
    peer.update(Clock())
    return peak.megabytes()


def growth_case(bench: Bench, case: str) -> Row:
    """Our update's time, on a GPU memory too, while one size grows; the slopes.

    Of pack, group and requests over unique tokens; of the model, whose layers grow, over its
    weights.
    """
    del case
    plain = Shape(1, 256, 1, 16, 4, 64)
    sizes = {
        "pack": [replace(plain, pack=n) for n in (128, 256, 512, 1024)],
        "group": [replace(plain, group=n) for n in (2, 4, 8, 16)],
        "requests": [replace(plain, packs=n, requests=2 * n) for n in (1, 2, 3)],
    }
    ours = bench.ours()
    ours.update(bench.samples(plain.sized(bench.scale)))
    points: list[Row] = []
    for name, shapes in sizes.items():
        for shape in shapes:
            points.append({"grows": name, **_point(bench, ours, shape.sized(bench.scale))})
    chosen = {name: [p for p in points if p["grows"] == name] for name in sizes}
    models = [
        {"grows": "model", **_point(small, small.ours(), plain.sized(bench.scale))}
        for small in _models(bench)
    ]
    return {
        "case": "growth",
        "slope": slope(points, "ours_s"),
        "slope_by": {name: slope(part, "ours_s") for name, part in chosen.items()},
        "slope_cpu": slope(points, "ours_cpu_s"),
        "slope_cpu_by": {name: slope(part, "ours_cpu_s") for name, part in chosen.items()},
        "slope_weights": slope(models, "ours_s", over="weights"),
        "points": points + models,
    }


def _models(bench: Bench) -> Iterator[Bench]:
    """The model's shape with a quarter, half and all of its layers, and random weights."""
    model = bench.policy.base
    layers = model.config.num_hidden_layers
    for count in sorted({max(1, layers // n) for n in (4, 2, 1)}):
        config = deepcopy(model.config)
        config.num_hidden_layers = count
        with torch.device(bench.policy.device):
            made = type(model)._from_config(config, dtype=model.dtype).eval()
        optimiser = torch.optim.AdamW(made.parameters(), lr=0.0, weight_decay=0.0, fused=True)
        small = replace(bench, policy=replace(bench.policy, model=made), optimiser=optimiser)
        small.ours().update(small.samples(WARM_UP))
        yield small


def _point(bench: Bench, ours: Ours, shape: Shape) -> Row:
    samples, clock = bench.samples(shape), Clock()
    peak = Peak(bench.policy.device)
    for _ in range(bench.repeats):
        with clock.time("ours"):
            ours.update(samples)
    point = {
        "pack": shape.pack,
        "group": shape.group,
        "requests": shape.requests,
        "weights": sum(p.numel() for p in bench.policy.base.parameters()),
        "tokens_unique": unique_tokens(samples),
        "tokens_whole": whole_tokens(samples),
        "ours_s": min(clock.wall["ours"]),
        "ours_cpu_s": min(clock.cpu["ours"]),
    }
    # In one process on a CPU the allocator hands out again what an earlier point has freed.
    return point | (
        {"ours_peak_mb": peak.megabytes()} if bench.policy.device.type == "cuda" else {}
    )


def slope(points: list[Row], seconds: str, *, over: str = "tokens_unique") -> float:
    """The power of a size with which time grows: least squares over the logarithms."""
    sizes, times = ([log(p[key]) for p in points] for key in (over, seconds))
    return linear_regression(sizes, times).slope


def fits_case(bench: Bench, case: str) -> Row:
    """Our update over a large batch alone: time, memory and rate."""
    samples, clock = bench.samples(bench.shape(case)), Clock()
    ours, peak = bench.ours(), Peak(bench.policy.device)
    with clock.time("ours"):
        ours.update(samples)
    rate = matrix_rate(bench.policy.device, bench.policy.base.dtype)
    flops = update_flops(bench.policy, samples) / clock.seconds("ours")
    return {
        "case": case,
        "ours_s": clock.seconds("ours"),
        "ours_peak_mb": peak.megabytes(),
        "tokens_unique": unique_tokens(samples),
        "tokens_whole": whole_tokens(samples),
        "flops_per_s": flops,
        "matrix_flops_per_s": rate,
        "matrix_share": flops / rate,
    }


CASES: dict[str, Callable[[Bench, str], Row]] = {
    "update": update_case,
    "batch": update_case,
    "step": step_case,
    "rollouts": rollouts_case,
    "finished": rollouts_case,
    "memory": memory_case,
    "short": update_case,
    "growth": growth_case,
    "gpu": update_case,
    "fits": fits_case,
}
# What `make bench` runs; the others want a GPU.
ON_A_CPU = ["update", "batch", "step", "rollouts", "finished", "memory", "short", "growth"]
