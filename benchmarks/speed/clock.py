"""Time and memory of a piece of work."""

import ctypes
import os
import re
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch


class Clock:
    """Seconds by name: on the wall, and of the processor (all threads of this process)."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = defaultdict(list)
        self.cpu: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Time what is inside; on a GPU, until it has really ended."""
        _wait()
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        _wait()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.wall[name].append(wall)
        self.cpu[name].append(cpu)
        # A long case that is cut off has told what it found.
        print(f"{name}: {wall:.2f} s, {cpu:.2f} s of processor time", file=sys.stderr)

    def sums(self, names: list[str], *, cpu: bool = False) -> list[float]:
        """Seconds of these parts together, one a repetition."""
        table = self.cpu if cpu else self.wall
        return [sum(parts) for parts in zip(*(table[n] for n in names), strict=True)]

    def seconds(self, *names: str, cpu: bool = False) -> float:
        """Their median over the repetitions."""
        return median(self.sums(list(names), cpu=cpu))


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def keep_memory() -> bool:
    """Have glibc keep what is freed, however large; false where the C library is another.

    By default it hands large blocks back at once. Where two sides take turns, each then pays for
    the pages that the other let go: seconds a turn where touching a page is dear.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is None:
        return False
    trim_threshold, mmap_max = -1, -4  # malloc.h
    return bool(tune(mmap_max, 0)) and bool(tune(trim_threshold, -1))


class Peak:
    """Most memory held since it was made, above what was held then, in MB (10⁶ bytes)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)
        elif sys.platform == "linux":
            Path("/proc/self/clear_refs").write_text("5")
            self.before = _status("VmRSS")
        else:
            self.before = _highest()

    def megabytes(self) -> float:
        """The peak up to now."""
        if self.device.type == "cuda":
            high = torch.cuda.max_memory_allocated(self.device)
        elif sys.platform == "linux":
            high = _status("VmHWM")
        else:
            high = _highest()
        return (high - self.before) / 1e6


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    if found is None:
        raise OSError(f"{name} is missing in /proc/self/status")
    return int(found[1]) * 1024


def _highest() -> int:
    """The process's peak in bytes; macOS counts bytes, others kilobytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of one large matrix product, the best of a few."""
    size = 8192 if device.type == "cuda" else 1536
    one = torch.randn(size, size, device=device, dtype=dtype)
    clock = Clock()
    for _ in range(6):
        with clock.time("product"):
            one @ one
    return 2 * size**3 / min(clock.wall["product"])


def machine() -> dict[str, str | int | float]:
    """Where the figures come from."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {
        "device": gpu or "cpu",
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
    }
