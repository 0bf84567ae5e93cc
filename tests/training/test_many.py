"""The result does not depend on how an update is split over processes."""

from dataclasses import asdict
from typing import Any

import pytest

from cada.training.samples import microbatches, shares, size
from tests.training import many
from tests.training.data import forest_samples, phase

SAMPLES = forest_samples([4, 1, 9], packs=2, requests=3, pack_tokens=10)
EXACT = {"beta": 0.3, "estimator": "exact"}
CASES: dict[str, dict[str, Any]] = {
    "many passes": {"tied": True, "kl": True, "tokens": 40},
    "uneven passes": {"tied": True, "kl": False, "tokens": 4096, "samples": 5},
    "one sample": {"tied": False, "kl": True, "tokens": 4096, "samples": 1},
    "untied head": {"tied": False, "kl": False, "tokens": 60},
    "adapters": {"tied": True, "kl": True, "tokens": 40, "lora": True},
    "no shared prefixes": {"plain": True, "kl": False, "tokens": 60},
}


def job(name: str, how: str) -> many.Job:
    case = CASES[name]
    samples = SAMPLES[: case.get("samples", len(SAMPLES))]
    return case, samples, phase(kl=EXACT if case["kl"] else {"beta": 0}), how


@pytest.fixture(scope="module")
def in_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Any]]]:
    """What two processes found, each, by case and way."""
    jobs = {f"{name}, {how}": job(name, how) for name in CASES for how in ("ddp", "fsdp2")}
    return many.run(2, jobs, tmp_path_factory.mktemp("two"))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "fsdp2"])
@pytest.mark.parametrize("name", CASES)
def test_two_processes_give_the_loss_and_gradients_of_one(
    in_two: list[dict[str, dict[str, Any]]], name: str, how: str
) -> None:
    alone = many.step(*job(name, "alone"))
    expected = alone["result"]
    assert expected.grad_norm > 0
    for process in in_two:
        found = process[f"{name}, {how}"]
        for figure, value in asdict(expected).items():
            given = getattr(found["result"], figure)
            assert (given is None) if value is None else given == pytest.approx(value, rel=1e-9)
        for weight, gradient in alone["gradient"].items():
            gap = float((found["gradient"][weight] - gradient).norm())
            assert gap <= 1e-9 * float(gradient.norm()), weight


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("tokens", [1, 40, 4096])
def test_shares_hold_every_sample_once_and_are_even(processes: int, tokens: int) -> None:
    found = shares(SAMPLES, tokens, processes)
    assert len(found) == processes
    everything = [s for own in found for batch in own for s in batch]
    assert sorted(map(id, everything)) == sorted(map(id, SAMPLES))
    loads = [sum(map(size, own)) for own in found]
    largest = max(size(batch) for own in found for batch in own)
    assert max(loads) - min(loads) <= largest
    if processes == 1:
        assert found == [microbatches(SAMPLES, tokens)]
