"""One policy in many processes: what each of them holds, and how they agree.

Replicas (DDP): every process holds the whole model. Shards (FSDP2, torch's `fully_shard`): every
process holds a part of each weight and gathers a layer when it computes it. Both hang their hooks
on the forward of one module; here that is a `Root`, inside whose forward anything may be computed.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from cada.errors import CadaError

T = TypeVar("T")

_PATIENCE = timedelta(days=7)


class Processes:
    """The processes of a run. With one, every call gives back what it was given."""

    def __init__(self) -> None:
        many = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if many else 0
        self.count = distributed.get_world_size() if many else 1

    @property
    def main(self) -> bool:
        """Whether this is the one that writes files."""
        return self.rank == 0

    def gather(self, items: list[T]) -> list[T]:
        """All processes' items, by rank."""
        if self.count == 1:
            return items
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, items)
        return [item for each in found for item in each]

    def from_main(self, value: T) -> T:
        """The main process's value, everywhere."""
        if self.count == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def add(self, values: list[float], device: torch.device) -> list[float]:
        """Sums over the processes, in float64."""
        if self.count == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        found: list[float] = total.tolist()
        return found

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            self.from_main(None)
            self.gather([None])


def many_asked(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher started this process as one of several."""
    return int(environment.get("WORLD_SIZE", "1") or 1) > 1


def join_processes(device: str | None) -> Processes:
    """Meet the other processes of this run, if a launcher started several.

    Args:
        device: the recipe's; CUDA where there is one when None.
    """
    if many_asked() and not distributed.is_initialized():
        on_cpu = device == "cpu" or not torch.cuda.is_available()
        # The others wait while the main one measures; a launcher ends them if it dies.
        PartialState(cpu=on_cpu, timeout=_PATIENCE)
        # Threads of a backend that live on until the process ends can abort it.
        atexit.register(_leave)
    return Processes()


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def leave_for_good(code: int) -> None:
    """End this process at once with an exit code if it is one of several.

    Threads that a backend leaves running can abort a process while its interpreter is taken apart.
    """
    if many_asked():
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def precision(device: str, default: str, asked: str | None, capabilities: Mapping[str, Any]) -> str:
    """The mixed precision to train in: `no` or `bf16`.

    Args:
        device: `cpu` or `cuda`.
        default: what is taken where nothing is asked for.
        asked: accelerate's `mixed_precision`; `no` is what a launcher says unasked.
        capabilities: of the CPU, by torch's names.

    Raises:
        CadaError: it is not to be had, here or at all.
    """
    if asked in (None, "", "no"):
        return default
    where, mend = "accelerate's mixed_precision", "Launch with --mixed_precision no"
    if asked != "bf16":
        raise CadaError(
            f"{asked} is asked for, and cada trains in bf16 or without", where=where, mend=mend
        )
    if device == "cpu" and not (capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")):
        raise CadaError(
            "bf16 is asked for, and this CPU computes without it", where=where, mend=mend
        )
    return "bf16"


class Root(nn.Module):
    """Calls a function inside the forward of a module that holds the policy.

    The loss runs the decoder and the head apart, not the model's own forward; DDP and FSDP know
    only of a forward. What the function returns is a tensor or a tuple of tensors and None.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, call: Callable[[], Any]) -> Any:
        """What the call gives."""
        return call()


def wants_shards(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `accelerate launch` was told to use FSDP.

    Raises:
        CadaError: it was told to use FSDP 1, which torch gives up.
    """
    if environment.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return False
    if environment.get("FSDP_VERSION", "1") != "2":
        raise CadaError(
            "FSDP 1 is asked for, and cada shards with FSDP 2",
            where="accelerate's configuration, fsdp_version",
            mend="Set fsdp_version: 2",
        )
    return True


def replicate(root: Root, accelerator: Accelerator) -> nn.Module:
    """The root under DDP, through accelerate."""
    wrapped: nn.Module = accelerator.prepare_model(root)
    return wrapped


def shard(model: nn.Module, layers: list[nn.Module], half: bool = False) -> None:
    """Split a module's weights over all processes, in place: each layer, then what is left.

    `half` gathers and computes in bfloat16 and adds gradients in float32; the weights that are
    kept stay as they are.
    """
    policy = MixedPrecisionPolicy()
    if half:
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
    for part in [*layers, model]:
        fully_shard(part, mp_policy=policy)


def layers_of(model: Any) -> list[nn.Module]:
    """The decoder's layers: what transformers says must not be split."""
    names = set(model._no_split_modules or ())
    return [m for m in model.modules() if type(m).__name__ in names]


@contextmanager
def whole(root: nn.Module) -> Iterator[None]:
    """All weights on every process, for a while: passes need no other process then.

    Processes may then compute unlike numbers of passes, as in sampling. Call the passes inside
    the root's forward. Nothing happens to a model that is not sharded.
    """
    parts = [m for m in root.modules() if isinstance(m, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(part is not root, recurse=False)
            part.reshard()


def full(value: Any) -> Any:
    """A shard's whole tensor, gathered from all processes; anything else as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: Tensor, pattern: Tensor) -> Tensor:
    """A whole tensor as the pattern is: this process's shard of it, or itself."""
    if not isinstance(pattern, DTensor):
        return value
    value = value.to(pattern.device)
    return distribute_tensor(value, pattern.device_mesh, pattern.placements, src_data_rank=None)
