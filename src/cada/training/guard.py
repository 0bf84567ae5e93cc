"""Watches a run and says when to roll it back."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from cada.config.recipe import Guard


@dataclass(frozen=True)
class Finding:
    """What is wrong at a step. `fatal` needs no patience."""

    reason: str
    fatal: bool = False


def inspect(metrics: dict[str, Any], guard: Guard) -> Finding | None:
    """The step's trouble, if any: NaN, KL blow-up, or benign requests refused en masse."""
    for name in ("loss", "grad_norm", "kl"):
        value = metrics.get(name)
        if value is not None and not isfinite(value):
            return Finding(f"{name} is not a finite number", fatal=True)
    kl = metrics.get("kl")
    if kl is not None and kl > guard.kl_limit:
        return Finding(f"KL is {kl:.2f} nats a token, over the limit of {guard.kl_limit:g}")
    refused = metrics.get("benign_refused")
    if refused is not None and refused > guard.benign_refusal_limit:
        return Finding(
            f"{refused:.0%} of harmless requests are refused, "
            f"over the limit of {guard.benign_refusal_limit:.0%}"
        )
    return None
