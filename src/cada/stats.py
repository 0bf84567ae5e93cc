"""Intervals for rates and means."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm, sem


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval and the number of items behind it."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """A rate with Wilson's score interval (Wilson 1927, JASA 22), sane at 0 % and 100 %.

    With `n` = 0 the value is NaN and the interval is [0, 1].
    """
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0, 0)
    found = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Estimate(successes / n, float(found.low), float(found.high), n)


def mean_normal(values: list[float], confidence: float = 0.95) -> Estimate:
    """A mean with the normal interval; of one value, the interval is the value itself."""
    n = len(values)
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    mean = float(np.mean(values))
    half = float(norm.ppf(0.5 + confidence / 2) * sem(values)) if n > 1 else 0.0
    return Estimate(mean, mean - half, mean + half, n)
