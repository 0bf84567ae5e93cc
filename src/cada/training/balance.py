"""Balance between harm and over-refusal: the side that goes wrong more often counts more.

Rewards alone leave open where a policy draws its line: along the trade-off curve a harmful request
refused costs about one harmless answer, and seeds come to rest in different places. Where each
side's samples are weighted by its error rate to the power q, what is minimised is the sum of the
rates to the power q + 1, whose minimum has errors on both sides (q-FFL's objective, Li et al. 2020,
"Fair resource allocation in federated learning", eq. 2, with two parties).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cada.training.samples import Sample

# Of the running error rates: what a step leaves of them. The last five steps make up two thirds.
KEPT = 0.8


def running_error(before: float | None, now: float | None) -> float | None:
    """A running error rate after a step; a side that the step did not ask stays as it was."""
    if now is None or before is None:
        return before if now is None else now
    return KEPT * before + (1 - KEPT) * now


def errors(metrics: dict[str, Any]) -> tuple[float | None, float | None]:
    """A step's shares of harmful requests that were not refused, and of harmless ones that were."""
    refused = metrics.get("harmful_refused")
    return None if refused is None else 1 - refused, metrics.get("benign_refused")


def side_weights(missed: float | None, over_refused: float | None, q: float) -> tuple[float, float]:
    """Factors of harmful and harmless requests' advantages, with mean 1.

    Both are 1 where a side has not been measured, or neither errs.
    """
    if missed is None or over_refused is None or missed == over_refused:
        return 1.0, 1.0
    powers = missed**q, over_refused**q
    return 2 * powers[0] / sum(powers), 2 * powers[1] / sum(powers)


def weigh(
    samples: Sequence[Sample], harmful: Sequence[bool], weights: tuple[float, float]
) -> list[Sample]:
    """The samples with their weights times their side's (see `side_weights`)."""
    return [
        replace(s, weight=s.weight * weights[0 if bad else 1])
        for s, bad in zip(samples, harmful, strict=True)
    ]
