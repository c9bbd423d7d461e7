"""How good is a detector? Its alarms against onsets: on curves whose onset is known, or on runs of the user's own.

An alarm is the number of a check; ``onset`` is the check at which a condition really begins, ``None`` if it never does.
The words are those of change detection (river's ``drift.evaluate`` uses them too).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from lightning_lr.engine.detectors import default_detectors
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.records import MetricViews, Reading
from lightning_lr.engine.vocabulary import Mode, Verdict
from lightning_lr.errors import ArgumentError
from lightning_lr.offline.curves import FAMILIES, MONITOR
from lightning_lr.offline.logs.run import Run


@dataclass(frozen=True)
class Score:
    """What one detector did on many runs.

    Attributes:
        delay: mean checks from the onset to the first alarm at or after it; a missed onset counts with all the checks
            that were left, so that silence is never cheap. NaN if no run has an onset.
        missed: share of the onsets without an alarm; NaN if there is none.
        false_runs: share of all runs with a false alarm: before the onset, or anywhere on a healthy run.
        false_per_100: false alarms in 100 checks without the condition.
        runs: how many.
    """

    delay: float
    missed: float
    false_runs: float
    false_per_100: float
    runs: int


@dataclass(frozen=True)
class Alarms:
    """What one detector found in one run.

    Attributes:
        detector: its name.
        first: check and epoch of the first alarm at or after the onset; ``None`` if it was missed.
        delay: checks from the onset to it; NaN if it was missed, or there is no onset.
        false: checks of the false alarms, the first of each row.
    """

    detector: str
    first: tuple[int, int] | None
    delay: float
    false: tuple[int, ...]


def metric_views(readings: Iterable[Reading], monitors: Sequence[str] = (MONITOR,)) -> list[MetricViews]:
    """What a detector sees at each check of a run in which nothing is ever adjusted."""
    history = RunHistory(monitors, Mode.MIN, rel_delta=1e-3)
    return [history.update(reading) for reading in readings]


def alarms_of(detector: Detector, readings: Iterable[Reading], monitors: Sequence[str] = (MONITOR,)) -> list[int]:
    """The checks of a run at which a detector says yes."""
    return _alarms(detector, metric_views(readings, monitors)) or []


def _alarms(detector: Detector, seen: Iterable[MetricViews]) -> list[int] | None:
    """The checks at which a detector says yes; ``None`` if it found nothing to judge."""
    found = [(views.check, findings) for views in seen if (findings := detector.examine(views))]
    return [check for check, findings in found if any(f.verdict is Verdict.YES for f in findings)] if found else None


def episodes(alarms: Sequence[int]) -> list[int]:
    """The first check of each unbroken row of alarms: a detector that goes on saying yes has not erred twice.

    >>> episodes([3, 4, 5, 9])
    [3, 9]
    """
    return [alarm for before, alarm in zip([-2, *alarms], alarms, strict=False) if alarm != before + 1]


def detection_delay(alarms: Sequence[int], onset: int | None) -> float:
    """Checks from the onset to the first alarm at or after it; NaN if there is no onset, or no such alarm.

    >>> detection_delay([2, 13, 14], onset=10), detection_delay([2], onset=10)
    (3.0, nan)
    """
    if onset is None:
        return math.nan
    return float(min((alarm - onset for alarm in alarms if alarm >= onset), default=math.nan))


def false_alarms(alarms: Sequence[int], onset: int | None) -> list[int]:
    """The alarms before the onset; all of them if there is none.

    >>> false_alarms([2, 13], onset=10), false_alarms([2, 13], onset=None)
    ([2], [2, 13])
    """
    return [alarm for alarm in alarms if onset is None or alarm < onset]


def charged_delay(alarms: Sequence[int], onset: int | None, checks: int) -> float:
    """The delay; a missed onset counts with all the checks that were left (restricted mean).

    >>> charged_delay([12], 10, checks=60), charged_delay([], 10, checks=60)
    (2.0, 50.0)
    """
    delay = detection_delay(alarms, onset)
    return float(checks - onset) if onset is not None and math.isnan(delay) else delay


def score(runs: Sequence[tuple[Sequence[int], int | None, int]]) -> Score:
    """The figures of many runs, each given as its alarms, its onset and its number of checks.

    >>> score([([14], 10, 60), ([5], 10, 60), ([], None, 60), ([30], None, 80)])
    Score(delay=27.0, missed=0.5, false_runs=0.5, false_per_100=1.25, runs=4)
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


def name_of(detector: Detector) -> str:
    """The name of a detector: that of its file. Several look for one condition.

    >>> [name_of(detector) for detector in default_detectors() if detector.condition == "overfitting"]
    ['gradient_disparity', 'overfitting']
    """
    return type(detector).__module__.rpartition(".")[2]


def curve_scores(seeds: int, condition: str | None = None) -> list[tuple[str, int, Score | None]]:
    """Each detector on the curves of its own condition and on the healthy ones: name, onsets, figures.

    Args:
        seeds: how many curves of each family.
        condition: of the detectors to judge, or the name of one; ``None`` for all.

    Returns:
        No figures for a detector that finds nothing to judge in these curves: they hold no measurement of a probe, and
        no rate.
    """
    curves = [make(seed) for make in FAMILIES.values() for seed in range(seeds)]
    seen = [metric_views(curve.readings) for curve in curves]
    scores: list[tuple[str, int, Score | None]] = []
    for detector in _detectors(condition):
        pairs = [
            pair for pair in zip(curves, seen, strict=True) if pair[0].condition in (detector.condition, "healthy")
        ]
        found = [(_alarms(detector, views), curve.onset, len(views)) for curve, views in pairs]
        judged = any(alarms is not None for alarms, _, _ in found)
        runs = [(alarms or [], onset, checks) for alarms, onset, checks in found]
        scores.append((name_of(detector), sum(run[1] is not None for run in runs), score(runs) if judged else None))
    return scores


def run_alarms(run: Run, onset: str, condition: str | None) -> list[Alarms]:
    """What the detectors found in a run in which a condition really began at a known place.

    Those that found nothing to judge in it are left out.

    Args:
        run: any recorded run.
        onset: ``epoch=17``, ``check=17``, or ``none`` if nothing was wrong.
        condition: of the detectors to judge, or the name of one; ``None`` for all.

    Raises:
        ArgumentError: if the onset is not in the run, or no detector looks for the condition.
    """
    detectors, history = _detectors(condition), DecisionEngine(run.settings).history
    seen, epochs = [], []
    for line in run.lines():
        seen.append(history.update(line.reading))
        epochs.append(line.reading.epoch)
    start, found = onset_check(onset, epochs), []
    for detector in detectors:
        alarms = _alarms(detector, seen)
        if alarms is not None:
            delay, false = detection_delay(alarms, start), tuple(false_alarms(episodes(alarms), start))
            first = None if start is None or math.isnan(delay) else start + int(delay)
            place = None if first is None else (first, epochs[first])
            found.append(Alarms(name_of(detector), place, delay, false))
    return found


def onset_check(onset: str, epochs: Sequence[int]) -> int | None:
    """The check that an onset means: for an epoch, its first.

    >>> onset_check("epoch=1", [0, 0, 1, 1]), onset_check("check=3", [0, 0, 1, 1]), onset_check("none", [0])
    (2, 3, None)
    """
    name, _, number = onset.partition("=")
    if onset == "none":
        return None
    if name not in {"epoch", "check"} or not number.isdecimal():
        raise ArgumentError(f"Expected an onset like epoch=17, check=17 or none but got {onset!r}.")
    places = range(len(epochs)) if name == "check" else epochs
    found = next((check for check, place in enumerate(places) if place >= int(number)), None)
    if found is None:
        raise ArgumentError(f"Expected an onset within the run but got {onset!r}: it ends at {name} {places[-1]}.")
    return found


def _detectors(condition: str | None) -> list[Detector]:
    offered = default_detectors()
    chosen = [d for d in offered if condition in (None, d.condition, name_of(d))]
    if not chosen:
        known = ", ".join(dict.fromkeys(d.condition for d in offered))
        raise ArgumentError(f"Expected a condition that a detector looks for ({known}) but got {condition!r}.")
    return chosen
