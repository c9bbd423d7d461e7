"""How probable it is that a series has next to nothing more to gain at its rate.

Two measurements, and the surer one counts. The *ages* of the lowest values find a plateau in noise: in noise around a
decaying curve, dry spells grow about with the square root of the length of the run. The *last half* finds the plateau
of a calm run that goes on setting tiny records. Both are unchanged if a constant is added to the series, or if it is
multiplied by a positive number: ranks, ages, and ratios of falls.

The constants were fitted once, by ``benchmarks/detection/fit.py``; the figures are in
docs/decisions/0015-probabilities.md.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import mul

FEWEST = 5
"""Values, since the last change of the rate, before a probability is stated: fewer show neither noise nor trend."""

LOWEST = 5
"""Lowest values whose ages count. One is luck, five seldom are: their mean age says when the run was at its best."""

LONGEST_TREND = 64
"""Values of a rank trend at most."""

LONG = 30
"""Values from which on a run is long: its ages are then taken over the fourth root, since long runs are noisier in
checks than they are slow. Delay at equal false alarms falls by a tenth on long noisy runs, elsewhere by nothing."""

WEIGHTS = (0.5, 0.65, 1.2, 0.5)
"""Intercept, and weight of the age of the best, of the mean age of the lowest, and of the rank trend."""

QUIET = 0.01
"""Noise, as a share of the gain, up to which a run is calm: above, half a run without a new best may be luck."""

STEEP = 12.0
"""By how much each share of the gain that came in the last half lowers the probability. A power of time gains in the
next half as long again about what it gained in this one: 0.8 is stated at 1.7 %, where it was so on recorded runs."""

MOST_BY_LAST_HALF = 0.97
"""A run that has gained nothing at all in its last half may still begin again."""


@dataclass(frozen=True)
class Stall:
    """One answer.

    Attributes:
        probability: that less than a hundredth or two of the gain is to come at this rate; NaN: it cannot be told yet.
        checks: values that it rests on; it can be told from :data:`FEWEST` on.
        by_ages: the probability by the ages alone.
        last_half: share of all gain that came in the last half of the run; NaN if that cannot be told.
    """

    probability: float
    checks: int
    by_ages: float = math.nan
    last_half: float = math.nan


def stall(
    count: int, since_change: int, since_best: int, mean_age: float, rank_trend: float, last_half: float
) -> Stall:
    """The probability of a stall.

    Args:
        count: finite values of the run.
        since_change: of these, since the last change of the rate: no age is counted from before it.
        since_best: values since the lowest, of which a hundredth of the noise makes no new one.
        mean_age: of the five lowest values.
        rank_trend: of the newest values, in standard deviations of chance.
        last_half: see :class:`Stall`.

    >>> round(stall(20, 20, 10, 9.0, 1.0, float("nan")).probability, 2)
    0.92
    """
    checks = min(count, since_change)
    if checks < FEWEST:
        return Stall(math.nan, checks)
    by_ages = logistic(sum(map(mul, WEIGHTS, features(count, min(since_best, since_change), mean_age, rank_trend))))
    if math.isnan(last_half) or since_change < count // 2:
        return Stall(by_ages, checks, by_ages)
    return Stall(max(by_ages, min(MOST_BY_LAST_HALF, 1 - STEEP * last_half)), checks, by_ages, last_half)


def features(count: int, since_best: int, mean_age: float, rank_trend: float) -> tuple[float, float, float, float]:
    """What :data:`WEIGHTS` are the weights of; the first is constant.

    >>> [round(value, 2) for value in features(20, 10, 9.0, 1.0)]
    [1.0, 0.85, 0.75, 1.0]
    """
    root = min(math.sqrt(count), math.sqrt(math.sqrt(LONG * count)))
    return 1.0, math.log((since_best + 0.5) / root), math.log((mean_age + 0.5) / root), rank_trend


def logistic(odds: float) -> float:
    """Odds, as their logarithm → probability.

    >>> logistic(0.0), logistic(1e9) <= 1.0
    (0.5, True)
    """
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, odds))))


def trend_length(count: int) -> int:
    """Values of the rank trend of a run of so many.

    >>> [trend_length(count) for count in (5, 8, 20, 64, 300, 10_000)]
    [5, 8, 12, 17, 27, 64]
    """
    return min(count, LONGEST_TREND, max(FEWEST, int(4.8 * math.exp(0.3 * math.log(count)) + 0.5)))


def deviations(pairs: int, count: int) -> float:
    """Rising minus falling pairs of ``count`` values, in standard deviations of chance (Mann 1945)."""
    return pairs / math.sqrt(count * (count - 1) * (2 * count + 5) / 18) if count > 2 else 0.0


def rank_trend(values: Sequence[float]) -> float:
    """Mann-Kendall: pairs that rise minus pairs that fall, in standard deviations of chance; positive is worse.

    >>> round(rank_trend([3.0, 2.0, 1.0, 0.5, 0.25]), 2)
    -2.45
    """
    trend = RankTrend(values)
    return deviations(trend.pairs, len(trend))


class RankTrend:
    """The pairs of a sliding window: a value that comes or goes costs two searches, whatever the length.

    >>> trend = RankTrend([3.0, 2.0, 1.0])
    >>> trend.pairs
    -3
    >>> trend.add(4.0, longest=3); trend.pairs
    1
    """

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.pairs = 0
        self._values: deque[float] = deque()
        self._sorted: list[float] = []
        for value in values:
            self.add(value, LONGEST_TREND)

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float, longest: int) -> None:
        """Take the next value, and let the oldest go if there are more than ``longest``."""
        ordered = self._sorted
        while len(ordered) >= longest:
            oldest = self._values.popleft()
            below = bisect_left(ordered, oldest)
            above = len(ordered) - bisect_right(ordered, oldest)
            self.pairs -= above - below
            del ordered[below]
        self.pairs += bisect_left(ordered, value) + bisect_right(ordered, value) - len(ordered)
        insort(ordered, value)
        self._values.append(value)

    def clear(self) -> None:
        """Forget all values."""
        self.pairs = 0
        self._values.clear()
        self._sorted.clear()
