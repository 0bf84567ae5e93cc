"""Intervals for rates and means."""

from dataclasses import dataclass
from math import sqrt

from scipy.stats import norm


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
    z = float(norm.ppf(0.5 + confidence / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), n)


def mean_normal(values: list[float], confidence: float = 0.95) -> Estimate:
    """A mean with the normal interval; NaN bounds become the value itself when n < 2."""
    n = len(values)
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    mean = sum(values) / n
    if n == 1:
        return Estimate(mean, mean, mean, 1)
    variance = sum((v - mean) ** 2 for v in values) / (n - 1)
    half = float(norm.ppf(0.5 + confidence / 2)) * sqrt(variance / n)
    return Estimate(mean, mean - half, mean + half, n)
