"""The few statistics that the detectors stand on, in plain Python.

All are pure functions of a short list of numbers (at most a few dozen), so there is no state to save and a decision
can be recomputed from what was recorded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import mul, sub
from statistics import NormalDist

from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Verdict

CONFIDENCE = 0.95
"""One-sided confidence of a slope: one look in twenty at pure noise claims a direction; so callers ask for more."""

MAD_TO_SD = 1.4826
"""Median absolute deviation → standard deviation under normal noise (Rousseeuw and Croux 1993)."""

MEAN_TO_SD = 1.2533
"""Mean absolute deviation → standard deviation under normal noise."""

NOISE_WINDOW = 32
"""Newest values that the noise is read from: its error is then an eighth of it, and annealed runs end calmer."""

SHORTEST_TREND = 5
"""Fewest values a slope is read from, if there are as many: below, one outlier turns its sign."""


@dataclass(frozen=True)
class Trend:
    """Where a series is going.

    Attributes:
        slope: change of the oriented value per check (or per block); negative is improvement.
        error: standard error of the slope, in the same unit.
        points: how many values it rests on.
        improving: whether the slope is below zero beyond its error.
        rising: whether it is above zero beyond its error.
    """

    slope: float
    error: float
    points: int
    improving: Verdict
    rising: Verdict

    def __str__(self) -> str:
        return self.shown(1)

    def shown(self, sign: int) -> str:
        """In words, in the direction in which the user sees the values move."""
        if not math.isfinite(self.error):
            return f"slope not known yet ({self.points} value{plural(self.points)})"
        return f"slope {sign * self.slope + 0.0:+.3g} ± {self.error:.2g} over {self.points} values"


@lru_cache(maxsize=256)
def student_quantile(confidence: float, freedom: int) -> float:
    """One-sided quantile of Student's t by the Cornish-Fisher series (Abramowitz and Stegun 26.7.5).

    Within 1 % of the exact value from three degrees of freedom on.

    Args:
        confidence: probability below the quantile, 0.5 to 1.
        freedom: degrees of freedom, ≥ 1.

    >>> round(student_quantile(0.95, 10), 2), round(student_quantile(0.95, 3), 2)
    (1.81, 2.35)
    """
    z = NormalDist().inv_cdf(confidence)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def robust_noise(values: Sequence[float]) -> float:
    """Standard deviation of one value around a locally straight line; NaN for too few values.

    The median of the absolute second differences: a straight trend cancels, and one outlier, which enters three
    of them, cannot move the median of many. Independent normal noise of deviation s has second differences of
    deviation s·√6. Of a series that seldom moves the median is 0; their mean is used then.

    >>> robust_noise([5.0, 4.0, 3.0, 2.0])
    0.0
    >>> round(robust_noise([0, 1, 0, 1, 0, 1]), 2)
    1.21
    """
    count = len(values) - 2
    if count < 1:
        return math.nan
    steps = list(map(sub, values[1:], values))
    bends = sorted(map(abs, map(sub, steps[1:], steps)))
    half = 0.5 * (bends[count // 2] + bends[(count - 1) // 2])
    return float(MAD_TO_SD * half if half > 0 else MEAN_TO_SD * sum(bends) / count) / math.sqrt(6)


def middle(values: Sequence[float]) -> float:
    """Median of at least one value.

    >>> middle([3.0, 1.0, 2.0, 10.0])
    2.5
    """
    ordered = sorted(values)
    return 0.5 * (ordered[len(ordered) // 2] + ordered[(len(ordered) - 1) // 2])


def mean(values: Sequence[float]) -> float:
    """Plain mean of at least one value; cheaper than ``statistics.fmean``, and every check pays for many."""
    return sum(values) / len(values)


def robust_level(values: Sequence[float]) -> tuple[float, float]:
    """Median, and standard deviation estimated from the median absolute deviation.

    >>> robust_level([1.0, 1.0, 1.0, 100.0])
    (1.0, 0.0)
    """
    level = middle(values)
    return level, MAD_TO_SD * middle([abs(v - level) for v in values])


def least_squares(values: Sequence[float]) -> tuple[float, float, float]:
    """Slope per index, residual standard deviation (NaN below three values), and the sum of squared indices.

    Needs two values at least.

    >>> least_squares([3.0, 2.0, 1.0])
    (-1.0, 0.0, 2.0)
    """
    n = len(values)
    level, spread = sum(values) / n, n * (n * n - 1) / 12
    rises = [v - level for v in values]
    slope = sum(map(mul, range(n), rises)) / spread
    if n < 3:
        return slope, math.nan, spread
    total = sum(map(mul, rises, rises))
    if total <= n * (1e-14 * level) ** 2:
        return 0.0, 0.0, spread  # equal but for rounding
    residual = total - slope * slope * spread
    # The difference of two large numbers: what is left of an exact line is rounding, not scatter.
    return slope, math.sqrt(residual / (n - 2)) if residual > 1e-13 * total else 0.0, spread


def trend(values: Sequence[float], noise: float = math.nan) -> Trend:
    """Slope of the values with an error, and whether it is beyond that error.

    The error rests on the larger of the residual scatter and of ``noise``, a scatter known from elsewhere: a
    handful of values often lie on a line by luck, and without the second opinion luck would pass for certainty.

    Args:
        values: oriented values, oldest first.
        noise: standard deviation of one value, where it is known; NaN otherwise.

    >>> print(trend([1.0, 0.75, 0.5, 0.25]))
    slope -0.25 ± 0 over 4 values
    >>> print(trend([1.0, 0.9]).improving)              # two values say nothing of their noise ...
    undecided
    >>> print(trend([1.0, 0.9], noise=0.01).improving)  # ... where it is known they do
    yes
    """
    n = len(values)
    slope, scatter, spread = least_squares(values) if n > 1 else (0.0, math.nan, 0.0)
    known = [deviation for deviation in (scatter, noise) if not math.isnan(deviation)]
    if n < 2 or not known:
        return Trend(slope, math.inf, n, Verdict.UNDECIDED, Verdict.UNDECIDED)
    error = max(known) / math.sqrt(spread)
    reach = student_quantile(CONFIDENCE, max(3, n - 2)) * error
    return Trend(slope, error, n, improving=beyond(-slope, reach), rising=beyond(slope, reach))


def recent_noise(values: Sequence[float]) -> float:
    """Noise of the newest values."""
    return robust_noise(values[-NOISE_WINDOW:])


def recent_trend(values: Sequence[float], noise: float) -> Trend:
    """Slope over the newer half of the values."""
    return trend(values[-max(SHORTEST_TREND, len(values) // 2) :], noise)


def beyond(value: float, reach: float) -> Verdict:
    """Whether a value is above zero beyond its reach: yes, surely not, or cannot be told.

    >>> [str(beyond(v, 1.0)) for v in (2.0, 0.5, -2.0)]
    ['yes', 'undecided', 'no']
    """
    if value > reach:
        return Verdict.YES
    return Verdict.NO if value <= -reach else Verdict.UNDECIDED
