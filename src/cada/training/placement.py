"""Where a policy in training lives: in one process, in replicas of it, or in shards."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs
from torch import nn

from cada.errors import CadaError
from cada.models.adapters import train_phase
from cada.models.load import Policy
from cada.models.parallel import (
    Processes,
    Root,
    layers_of,
    precision,
    replicate,
    shard,
    wants_shards,
    whole,
)

T = TypeVar("T")


class Placement:
    """The policy as accelerate's launcher asked for it.

    `root` is the policy in the module whose forward DDP or FSDP knows; `half` whether passes
    compute in bfloat16 from float32 weights.
    """

    def __init__(
        self, policy: Policy, folder: Path, *, half: bool, per_phase: bool, trackers: Sequence[str]
    ) -> None:
        """`half` is taken where the launcher does not ask; `per_phase` gives phases own adapters.

        Raises:
            CadaError: what the launcher asks for is not to be had.
        """
        self.policy = policy
        self.per_phase = per_phase
        self.processes = Processes()
        mixed = precision(
            policy.device.type,
            "bf16" if half else "no",
            os.environ.get("ACCELERATE_MIXED_PRECISION"),
            torch.cpu.get_capabilities(),
        )
        self.half = mixed == "bf16"
        self.accelerator = Accelerator(
            cpu=policy.device.type == "cpu",
            mixed_precision=mixed,
            log_with=list(trackers) or None,
            project_dir=str(folder),
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        self.root: nn.Module = Root(policy.model)
        self.sharded = self.processes.count > 1 and wants_shards()
        self._replicated: int | None = None

    def shard(self) -> None:
        """Split the weights over the processes."""
        shard(self.root, layers_of(self.policy.base), self.half)

    def enter(self, phase: int) -> None:
        """Let a phase train what is its own; replicas are wrapped anew when that changes."""
        train_phase(self.policy.model, phase)
        if self.processes.count == 1 or self.sharded:
            return
        if self._replicated is None or (phase != self._replicated and self.per_phase):
            self.accelerator.free_memory()
            self.root = replicate(Root(self.policy.model), self.accelerator)
            self._replicated = phase

    def alone(self, call: Callable[[], T]) -> T:
        """What a call gives that computes with the policy without the other processes.

        All of them call this together; what each calls may differ.
        """
        if not self.sharded:
            return call()
        found: list[T] = []

        def inside() -> None:
            found.append(call())

        with whole(self.root), torch.no_grad():
            self.root(inside)
        return found[0]


def check_trackers(names: Sequence[str]) -> None:
    """See that every tracker's package is there: accelerate leaves out one that is not.

    Raises:
        CadaError: a package is missing.
    """
    there = {str(tracker) for tracker in get_available_trackers()}
    for name in names:
        if name not in there:
            raise CadaError(
                f"the tracker {name} is not installed",
                where="training.trackers",
                mend=f"Install it (pip install {name}), or leave it out",
            )
