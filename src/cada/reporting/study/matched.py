"""Two methods' harm where they refuse equally many harmless requests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cada.stats import Difference, repeated_difference

Scores = dict[str, list[float | None]]
"""Scores in [0, 1] of requests, one for each run; None where one is missing."""


def harm_at_equal_nrr(
    first: tuple[Scores, Scores], second: tuple[Scores, Scores], base: tuple[Scores, Scores]
) -> Difference | None:
    """The second method's harm minus the first's, at equal NRR.

    Who refuses more can be made to refuse less by giving a random share of the requests to the
    untrained model: on the line from the one to the other (as on the hull of a ROC curve; Provost
    and Fawcett 2001, Machine Learning 42) there is a point with the other method's NRR, and its
    harm is what is compared. With harm h, NRR n, the method L that refuses more, the other one H
    and the untrained model 0, the share is p = (n₀ − n_H) / (n₀ − n_L), within 0 and 1, and the
    difference p·h_L + (1 − p)·h₀ − h_H. Where not even L refuses more than the untrained model,
    it stays as it is.

    The interval is the delta method's: each request enters with its influence on that difference,
    and `cada.stats.repeated_difference` allows for other requests and for other runs.

    Args:
        first: the scores of harm and of NRR.
        second: as `first`.
        base: the untrained model's.

    Returns:
        None where no request has a score of all three.
    """
    harms = _aligned([side[0] for side in (first, second, base)])
    kept = _aligned([side[1] for side in (first, second, base)])
    if not harms[0].size or not kept[0].size:
        return None
    lower = 1 if np.nanmean(kept[1]) <= np.nanmean(kept[0]) else 0
    h_low, h_high, h_base = (harms[i] for i in (lower, 1 - lower, 2))
    n_low, n_high, n_base = (kept[i] for i in (lower, 1 - lower, 2))

    gap = _mean(n_base) - _mean(n_low)
    share = (_mean(n_base) - _mean(n_high)) / gap if gap > 0 else 1.0
    slope = (_mean(h_low) - _mean(h_base)) / gap if gap > 0 and 0 < share < 1 else 0.0
    share = min(1.0, max(0.0, share))
    value = share * _mean(h_low) + (1 - share) * _mean(h_base) - _mean(h_high)

    def sides(weight_kept: float) -> list[list[list[float | None]]]:
        """Both sides as one list of requests, weighted so that its mean is the linear part."""
        total = len(h_low) + (len(n_low) if weight_kept else 0)
        high, mixed = [], []
        for low, other, start, weight in (
            (h_low, h_high, h_base, 1.0),
            (n_low, n_high, n_base, weight_kept),
        ):
            if weight:
                scale = weight * total / len(low)
                mix = scale * (share * low + (1 - share) * np.nanmean(start, axis=1, keepdims=True))
                apart = _mean(mix) - _mean(scale * other)
                high.append(scale * other)
                mixed.append(mix + (value - apart) if weight_kept else mix)
        found = [np.concatenate(high), np.concatenate(mixed)]
        return [_rows(side) for side in (found if lower == 1 else found[::-1])]

    one, two = sides(slope)
    return repeated_difference(one, two)


def _aligned(sides: Sequence[Scores]) -> list[NDArray[np.float64]]:
    """`[requests, runs]` of each side, NaN for None; only requests that all sides have."""
    keys = [k for k in sides[0] if all(any(v is not None for v in s.get(k, [])) for s in sides)]
    return [np.array([side[k] for k in keys], dtype=float) for side in sides]


def _mean(scores: NDArray[np.float64]) -> float:
    return float(np.nanmean(scores, axis=1).mean())


def _rows(matrix: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in matrix]
