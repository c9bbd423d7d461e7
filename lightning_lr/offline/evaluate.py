"""How good is a detector? Alarms against onsets: delay, missed, false alarms, with intervals.

All pure functions of plain numbers. An alarm is the number of a check; ``onset`` is the check at which a condition
really
begins, ``None`` where it never does. The words are those of change detection (river's ``drift.evaluate`` uses them
too).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import Protocol

from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.records import Finding, MetricViews, Reading
from lightning_lr.engine.vocabulary import Mode, Verdict


class Examines(Protocol):
    """Anything with an ``examine``: a detector of the package, or one of your own."""

    def examine(self, views: MetricViews) -> Sequence[Finding]:
        """Findings at one check."""
        ...


Judge = Callable[[Sequence[Reading]], Sequence[int]]
"""Any plain function from the readings of a run to the checks at which it raises an alarm."""


@dataclass(frozen=True)
class Score:
    """What one detector did on many runs.

    Attributes:
        delay: mean checks from the onset to the first alarm at or after it; a missed onset counts with all the checks
            that were left, so that silence is never cheap. NaN where no run has an onset.
        missed: share of the onsets without an alarm; NaN where there is none.
        false_runs: share of all runs with a false alarm: before the onset, or anywhere on a healthy run.
        false_per_100: false alarms in 100 checks without the condition.
        runs: how many.
    """

    delay: float
    missed: float
    false_runs: float
    false_per_100: float
    runs: int

    def __str__(self) -> str:
        return (
            f"delay {self.delay:.3g} checks, {100 * self.missed:.3g} % missed, "
            f"false alarms in {100 * self.false_runs:.3g} % of {self.runs} runs "
            f"({self.false_per_100:.3g} in 100 checks)"
        )


def signals_of(
    readings: Sequence[Reading], monitors: Sequence[str] = ("val_loss",), mode: Mode = Mode.MIN, rel_delta: float = 1e-3
) -> list[MetricViews]:
    """What a detector sees at each check of a run in which nothing is ever adjusted."""
    series = RunHistory(monitors, mode, rel_delta=rel_delta)
    return [series.update(reading) for reading in readings]


def alarms_of(detector: Examines | Judge, readings: Sequence[Reading]) -> list[int]:
    """The checks at which a detector says yes to a run; a plain function is simply asked.

    >>> alarms_of(lambda readings: [r.check for r in readings if r.metrics["val_loss"] > 1], [])
    []
    """
    if not hasattr(detector, "examine"):
        return list(detector(readings))
    seen = signals_of(readings)
    return [s.check for s in seen if any(f.verdict is Verdict.YES for f in detector.examine(s))]


def episodes(alarms: Sequence[int]) -> list[int]:
    """The first check of each unbroken row of alarms: a detector that goes on saying yes has not erred twice.

    >>> episodes([3, 4, 5, 9])
    [3, 9]
    """
    return [alarm for before, alarm in zip([-2, *alarms], alarms, strict=False) if alarm != before + 1]


def detection_delay(alarms: Sequence[int], onset: int | None) -> float:
    """Checks from the onset to the first alarm at or after it; NaN where there is no onset, or no such alarm.

    >>> detection_delay([2, 13, 14], onset=10)
    3.0
    >>> detection_delay([2], onset=10)
    nan
    """
    return (
        float(min((alarm - onset for alarm in alarms if alarm >= onset), default=math.nan))
        if onset is not None
        else math.nan
    )


def false_alarms(alarms: Sequence[int], onset: int | None) -> list[int]:
    """The alarms before the onset; all of them where there is none.

    >>> false_alarms([2, 13], onset=10), false_alarms([2, 13], onset=None)
    ([2], [2, 13])
    """
    return [alarm for alarm in alarms if onset is None or alarm < onset]


def charged_delay(alarms: Sequence[int], onset: int | None, checks: int) -> float:
    """The delay, where a missed onset counts with all the checks that were left (restricted mean).

    >>> charged_delay([12], 10, checks=60), charged_delay([], 10, checks=60)
    (2.0, 50.0)
    """
    delay = detection_delay(alarms, onset)
    return float(checks - onset) if onset is not None and math.isnan(delay) else delay


def score(runs: Sequence[tuple[Sequence[int], int | None, int]]) -> Score:
    """The figures of many runs, each given as its alarms, its onset and its number of checks.

    >>> print(score([([14], 10, 60), ([5], 10, 60), ([], None, 60), ([30], None, 60)]))
    delay 27 checks, 50 % missed, false alarms in 50 % of 4 runs (1.43 in 100 checks)
    """
    ill = [run for run in runs if run[1] is not None]
    quiet = sum(checks if onset is None else onset for _, onset, checks in runs)
    false = [false_alarms(episodes(alarms), onset) for alarms, onset, _ in runs]
    return Score(
        delay=fmean(charged_delay(*run) for run in ill) if ill else math.nan,
        missed=fmean(math.isnan(detection_delay(run[0], run[1])) for run in ill) if ill else math.nan,
        false_runs=fmean(bool(alarms) for alarms in false) if runs else math.nan,
        false_per_100=100 * sum(map(len, false)) / quiet if quiet else math.nan,
        runs=len(runs),
    )


def bootstrap(
    values: Sequence[float], confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Interval of a mean by resampling the runs (percentiles; seeded, so that a table does not change by itself).

    >>> bootstrap([1.0, 1.0, 1.0])
    (1.0, 1.0)
    >>> bootstrap([])
    (nan, nan)
    """
    if not values:
        return math.nan, math.nan
    rng = Random(seed)
    means = sorted(fmean(rng.choices(values, k=len(values))) for _ in range(resamples))
    tail = int(resamples * (1 - confidence) / 2)
    return means[tail], means[-1 - tail]


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
