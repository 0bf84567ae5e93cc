"""`cada align` with a vLLM server, as a user runs it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cada.files import read_json_lines
from cada.models.load import load_policy
from tests.command import here
from tests.pipelines.test_align import cada, one_line, recipe, requests_file
from tests.pipelines.test_many import launch
from tests.rollout.fake_vllm import FakeVllm

__all__ = ["recipe", "requests_file"]

FAR = "phases.0.learning_rate=0.1"


@pytest.fixture
def server(tiny_folder: Path) -> Iterator[FakeVllm]:
    with FakeVllm(load_policy(str(tiny_folder), device="cpu")).running() as running:
        yield running


def through(server: FakeVllm) -> list[str]:
    return ["rollout.engine=vllm", f"rollout.vllm.base_url={server.url}", "rollout.vllm.retries=0"]


@pytest.mark.slow
def test_align_with_a_server(recipe: Path, server: FakeVllm) -> None:
    done = here("align", recipe, *through(server), FAR, "--json")
    assert done.returncode == 0, done.stderr
    run = recipe.parent / "run"
    found = [row["sampler_mismatch"] for row in read_json_lines(run / "metrics.jsonl")]
    assert len(found) == 2
    assert max(found) < 1e-3
    assert (run / "report.html").stat().st_size > 0
    assert not (run / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize("shards", [False, True], ids=["ddp", "fsdp2"])
def test_two_processes_with_one_server(recipe: Path, server: FakeVllm, shards: bool) -> None:
    done = launch("align", recipe, *through(server), FAR, "device=cpu", "--json", shards=shards)
    assert done.returncode == 0, done.stderr
    run = recipe.parent / "run"
    rows = read_json_lines(run / "metrics.jsonl")
    assert [row["updates"] for row in rows] == [1, 1]
    assert max(row["sampler_mismatch"] for row in rows) < 1e-3
    assert len(server.bodies) == 2 * 4
    assert server.resets == 2
    assert json.loads((run / "environment.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_no_server_is_told_before_anything_is_done(recipe: Path, server: FakeVllm) -> None:
    server.development = False
    told = one_line(here("align", recipe, *through(server)))
    assert "it lacks the development mode" in told
    assert not (recipe.parent / "run").exists()


@pytest.mark.slow
def test_a_lost_server_is_one_line_and_the_same_command_goes_on(
    recipe: Path, server: FakeVllm
) -> None:
    server.answers = 6
    told = one_line(cada("align", recipe, *through(server), FAR, "rollout.vllm.concurrency=1"))
    assert "no vLLM server answers" in told
    assert "2 of 4 prompts are sampled and kept" in told
    server.answers = None
    # how the server is reached may change
    done = here("align", recipe, *through(server), FAR, "rollout.vllm.concurrency=2", "--json")
    assert done.returncode == 0, done.stderr
    assert len(server.bodies) == 2 * 4
