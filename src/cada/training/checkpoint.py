"""Checkpoints: whole or absent, and enough to go on bit by bit."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils._pytree import tree_map

from cada.errors import CadaError
from cada.files import atomic_path
from cada.models.adapters import trained_weights
from cada.models.disk import disk_errors
from cada.models.parallel import Processes, full, like

# What reading a cut-off, foreign or missing file raises.
_DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    RuntimeError,
    TypeError,
    SafetensorError,
    UnpicklingError,
)


@dataclass
class Progress:
    """Where a run stands. `step` counts finished steps over all phases.

    `missed` and `over_refused` are the phase's running error rates (training.balance).
    """

    step: int = 0
    updates: int = 0
    phase_updates: int = 0
    skipped: int = 0
    trouble: int = 0
    stopped: str | None = None
    good: str | None = None
    missed: float | None = None
    over_refused: float | None = None


class Checkpoints:
    """The checkpoints of a run, newest last; `good` ones are kept for a rollback.

    Weights and moments are whole in them, however they are spread over processes: a run goes on
    with any number. Every process calls `save` and `load`; the main one writes.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep
        self.processes = Processes()

    def save(self, model: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress) -> Path:
        """Write weights, optimiser state and progress; prune old checkpoints but the good one."""
        target = self.folder / f"step-{progress.step:05d}"
        weights, state = _trained(model), tree_map(full, optimiser.state_dict())
        if self.processes.main:
            self._write(target, weights, state, progress)
        self.processes.wait()
        return target

    def _write(
        self, target: Path, weights: dict[str, torch.Tensor], state: Any, progress: Progress
    ) -> None:
        with atomic_path(target) as path:
            path.mkdir()
            with disk_errors():
                save_file(weights, path / "weights.safetensors")
                with (path / "optimiser.pt").open("wb") as file:
                    torch.save(state, file)
            (path / "progress.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")
        for old in self.all()[: -self.keep]:
            if old.name != progress.good:
                shutil.rmtree(old)

    def all(self) -> list[Path]:
        """Every whole checkpoint, oldest first."""
        return sorted(self.folder.glob("step-*"))

    def latest(self) -> Path | None:
        """The newest checkpoint, as the main process sees it."""
        return self.processes.from_main(found[-1] if (found := self.all()) else None)

    def load(
        self, path: Path, model: nn.Module, optimiser: torch.optim.Optimizer | None
    ) -> Progress:
        """Put a checkpoint's weights and state back.

        Raises:
            CadaError: the checkpoint does not fit the model or is damaged.
        """
        load_weights(model, path / "weights.safetensors")
        try:
            if optimiser is not None:
                state = torch.load(path / "optimiser.pt", weights_only=True)
                _spread(state, optimiser)
                optimiser.load_state_dict(state)
            data: dict[str, Any] = json.loads((path / "progress.json").read_text("utf-8"))
            return Progress(**data)
        except _DAMAGE as error:
            raise _damaged(path, error) from error

    def sweep(self) -> None:
        """Remove what a kill left half-written."""
        if self.processes.main:
            for left in self.folder.glob(".*"):
                shutil.rmtree(left)
        self.processes.wait()


def _trained(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: full(p.detach()).contiguous() for n, p in trained_weights(model).items()}


def _spread(state: dict[str, Any], optimiser: torch.optim.Optimizer) -> None:
    """Cut whole moments into this process's shards, where the weights are sharded."""
    weights = [p for group in optimiser.param_groups for p in group["params"]]
    for number, moments in state["state"].items():
        pattern = weights[number]
        for name, value in moments.items():
            if value.shape == pattern.shape:
                moments[name] = like(value, pattern.detach())


def load_weights(model: nn.Module, file: Path) -> None:
    """Put the trained weights back that this module saved.

    Raises:
        CadaError: the file is missing or damaged, or lacks one of the weights that are trained.
    """
    try:
        weights, there = load_file(file), trained_weights(model)
        missing = set(there) - set(weights)
        if missing:
            raise KeyError(sorted(missing)[0])
        weights |= {n: like(weights[n], p.detach()) for n, p in there.items()}
        model.load_state_dict(weights, strict=False)
    except _DAMAGE as error:
        raise _damaged(file, error) from error


def _damaged(path: Path, error: Exception) -> CadaError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return CadaError(
        f"the checkpoint cannot be loaded ({reason})",
        where=str(path),
        mend="Remove this checkpoint to go on from the one before, or choose a new output",
    )


def save_reference(model: nn.Module, path: Path) -> None:
    """Keep a phase's starting weights, which its KL term refers to."""
    weights = _trained(model)
    if Processes().main:
        with atomic_path(path) as target, disk_errors():
            save_file(weights, target)
    Processes().wait()
