"""`cada align` under `accelerate launch`: two processes do what one does."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.command import here
from tests.pipelines.test_align import recipe, requests_file

__all__ = ["recipe", "requests_file"]


def launch(
    *arguments: object, processes: int = 2, shards: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`cada` under accelerate, from a script where that is given first."""
    # --cpu would start one process; the recipe's device makes these compute on a CPU.
    how = ["--use_fsdp", "--fsdp_version", 2] if shards else ["--multi_gpu"]
    options = [*how, "--num_processes", processes, "--num_machines", 1, "--mixed_precision", "no"]
    port = ["--main_process_port", 0, "--dynamo_backend", "no"]
    called = arguments if str(arguments[0]).endswith(".py") else ("-m", "cada", *arguments)
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *map(str, [*options, *port, *called])],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment},
    )


def assert_like(one: Path, two: Path) -> None:
    """The same weights up to float32's rounding, and whole folders."""
    here, there = (load_file(run / "model" / "model.safetensors") for run in (one, two))
    for name, value in here.items():
        torch.testing.assert_close(there[name], value, rtol=1e-4, atol=1e-5)
    for run in (one, two):
        assert [json.loads(x)["step"] for x in (run / "metrics.jsonl").open()] == [1, 2]
        assert (run / "report.html").stat().st_size > 0
        assert (run / "evaluation.json").stat().st_size > 0
        assert not (run / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "ways"),
    [("seed=1", ("ddp", "fsdp2")), ("lora={rank: 2, alpha: 4}", ("fsdp2",))],
    ids=["full", "adapters"],
)
def test_two_processes_train_what_one_trains(
    recipe: Path, change: str, ways: tuple[str, ...]
) -> None:
    one = recipe.parent / "one"
    same = ("device=cpu", "training.row_seeds=true", "phases.0.average=0.9", change)
    assert here("align", recipe, f"output={one}", *same).returncode == 0
    assert json.loads((one / "environment.json").read_text())["processes"] == 1
    for way in ways:
        two = recipe.parent / way
        shards = way == "fsdp2"
        done = launch("align", recipe, f"output={two}", *same, "--json", shards=shards)
        assert done.returncode == 0, done.stderr
        assert_like(one, two)
        assert json.loads((two / "environment.json").read_text())["processes"] == 2


KILLED = """
import os, signal, sys
from cada.cli.main import run
from cada.training import trainer
once = trainer.update
def update(*arguments, **options):
    if os.environ["RANK"] == "1" and os.path.isdir({first!r}):
        os.kill(os.getpid(), signal.SIGKILL)
    return once(*arguments, **options)
trainer.update = update
sys.argv = ["cada", "align", *{arguments!r}]
run()
"""


@pytest.mark.slow
def test_when_a_process_dies_the_others_stop_and_the_same_command_goes_on(recipe: Path) -> None:
    one, two = recipe.parent / "one", recipe.parent / "two"
    seeds = ("device=cpu", "training.row_seeds=true")
    script = recipe.parent / "killed.py"
    arguments = [str(recipe), f"output={two}", *seeds]
    script.write_text(
        KILLED.format(first=str(two / "checkpoints" / "step-00001"), arguments=arguments)
    )
    killed = launch(script)
    assert killed.returncode not in (0, -signal.SIGKILL), killed.stderr
    assert sorted(p.name for p in (two / "checkpoints").glob("step-*")) == [
        "step-00000",
        "step-00001",
    ]
    assert not (two / "model").exists()
    done = launch("align", *arguments)
    assert done.returncode == 0, done.stderr
    assert here("align", recipe, f"output={one}", *seeds).returncode == 0
    assert_like(one, two)
