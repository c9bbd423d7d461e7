"""Bootstrap intervals, and a peer's delay at a given rate of false alarms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from random import Random
from statistics import fmean


def bootstrap(
    values: Sequence[float],
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    of: Callable[[Sequence[float]], float] = fmean,
) -> tuple[float, float]:
    """Interval of a mean, or of another figure, by resampling the runs.

    Percentiles; seeded, so that a table does not change by itself.

    >>> bootstrap([1.0, 1.0, 1.0])
    (1.0, 1.0)
    >>> bootstrap([])
    (nan, nan)
    """
    if not values:
        return math.nan, math.nan
    rng = Random(seed)
    drawn = sorted(of(rng.choices(values, k=len(values))) for _ in range(resamples))
    tail = int(resamples * (1 - confidence) / 2)
    return drawn[tail], drawn[-1 - tail]


def delay_at(curve: Sequence[tuple[float, float]], false_runs: float) -> float:
    """The delay that a detector has, interpolated on its curve of (false alarms, delay), at a rate of false alarms.

    The lower convex hull is not taken: only settings that exist are compared, and straight lines between neighbours.
    Infinite where no setting is so quiet.

    >>> delay_at([(0.4, 2.0), (0.2, 6.0), (0.1, 10.0)], 0.3)
    4.0
    >>> delay_at([(0.4, 2.0), (0.2, 6.0)], 0.1)
    inf
    """
    points = sorted(curve)
    best = math.inf
    for (quiet, slow), (loud, fast) in itertools.pairwise(points):
        if quiet <= false_runs <= loud and loud > quiet:
            best = min(best, slow + (fast - slow) * (false_runs - quiet) / (loud - quiet))
    return min([best, *(delay for rate, delay in points if rate <= false_runs)])
