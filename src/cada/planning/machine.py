"""What this machine has: free memory, and the rate of its matrix products."""

import time

import psutil
import torch

from cada.planning.shape import ModelShape
from cada.planning.work import Rates

# Seconds that each of the two measurements lasts.
_SECONDS = 0.6


def free_memory(device: torch.device) -> int:
    """Bytes that a new process could have: on a GPU, or of the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def measure_rates(shape: ModelShape, device: torch.device, *, tokens: int, rows: int) -> Rates:
    """Operations a second of the model's largest matrix, with `tokens` rows and with `rows`.

    The shape of the product is what counts: a few rows wait for the weights to come from memory.
    """
    kind = torch.float32 if shape.wide else torch.bfloat16
    rates = []
    for n in (tokens, rows):
        # Several weights in turn, so that none stays in a cache that the whole model would not.
        weights = [
            torch.randn(shape.hidden, shape.inner, device=device, dtype=kind) for _ in range(8)
        ]
        x = torch.randn(n, shape.hidden, device=device, dtype=kind)
        x @ weights[0]
        done, started = 0, _now(device)
        while _now(device) - started < _SECONDS:
            for weight in weights:
                x @ weight
            done += len(weights)
        rates.append(2 * n * shape.hidden * shape.inner * done / (_now(device) - started))
    return Rates(rates[0], rates[1], device.type)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes matrix products in bfloat16 rather than imitating them."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
