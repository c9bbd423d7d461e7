"""Detectors against labelled runs: the curves whose onset is known, or runs of the user's own with ``--onset``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lightning_lr.engine.detectors import Detector, default_detectors
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.vocabulary import Condition, Verdict
from lightning_lr.errors import ArgumentError
from lightning_lr.offline.curves import FAMILIES
from lightning_lr.offline.evaluate import Score, alarms_of, detection_delay, episodes, false_alarms, score, signals_of
from lightning_lr.offline.logs.sources import Run


@dataclass(frozen=True)
class Alarms:
    """What one detector said to one run.

    Attributes:
        detector: its name.
        first: check and epoch of the first alarm at or after the onset; ``None``: missed.
        delay: checks from the onset to it; NaN where it was missed, or where there is no onset.
        false: checks of the false alarms, the first of each row.
    """

    detector: str
    first: tuple[int, int] | None
    delay: float
    false: tuple[int, ...]


def name_of(detector: Detector) -> str:
    """What a detector is called: as its file is. Several look for one condition.

    >>> [name_of(detector) for detector in default_detectors() if detector.condition is Condition.OVERFITTING]
    ['gradient_disparity', 'overfitting']
    """
    return type(detector).__module__.rpartition(".")[2]


def curve_scores(seeds: int, condition: str | None = None) -> list[tuple[str, int, Score | None]]:
    """Each detector on the curves of its own condition and on the healthy ones: name, onsets, figures.

    Args:
        seeds: how many curves of each family.
        condition: of the detectors to ask, or the name of one; ``None`` for all.

    Returns:
        No figures for a detector that finds nothing to judge in these curves: they hold no measurement of a probe, and
        no rate.
    """
    curves = [make(seed) for make in FAMILIES.values() for seed in range(seeds)]
    scores: list[tuple[str, int, Score | None]] = []
    for detector in _detectors(condition):
        asked = [c for c in curves if c.condition in (detector.condition, Condition.HEALTHY)]
        judged = any(detector.examine(views) for c in asked for views in signals_of(c.readings))
        runs = [(alarms_of(detector, c.readings), c.onset, len(c.readings)) for c in asked] if judged else []
        scores.append((name_of(detector), sum(c.onset is not None for c in asked), score(runs) if judged else None))
    return scores


def run_alarms(run: Run, onset: str, condition: str | None) -> list[Alarms]:
    """What the detectors said to a run in which a condition really began at a known place.

    Those that found nothing to judge in it are left out.

    Args:
        run: any recorded run.
        onset: ``epoch=17``, ``check=17``, or ``none`` where nothing was the matter.
        condition: of the detectors to ask, or the name of one; ``None`` for all.

    Raises:
        ArgumentError: where the onset is not in the run, or no detector looks for the condition.
    """
    series = RunHistory(
        run.settings.monitors, run.settings.mode, run.settings.train_monitor, run.settings.min_delta,
        run.settings.rel_delta,
    )  # fmt: skip
    detectors = _detectors(condition)
    alarms: list[list[int]] = [[] for _ in detectors]
    judged: set[int] = set()
    epochs = []
    for line in run.lines():
        views = series.update(line.reading)
        epochs.append(line.reading.epoch)
        for place, detector in enumerate(detectors):
            findings = detector.examine(views)
            if findings:
                judged.add(place)
            if any(finding.verdict is Verdict.YES for finding in findings):
                alarms[place].append(views.check)
    start = onset_check(onset, epochs)
    return [_alarms(detectors[place], alarms[place], start, epochs) for place in sorted(judged)]


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
    offered: Iterable[Detector] = default_detectors()
    chosen = [d for d in offered if condition in (None, d.condition, name_of(d))]
    if not chosen:
        known = ", ".join(dict.fromkeys(d.condition for d in default_detectors()))
        raise ArgumentError(f"Expected a condition that a detector looks for ({known}) but got {condition!r}.")
    return chosen


def _alarms(detector: Detector, alarms: list[int], onset: int | None, epochs: Sequence[int]) -> Alarms:
    first = next((alarm for alarm in alarms if onset is not None and alarm >= onset), None)
    return Alarms(
        name_of(detector),
        None if first is None else (first, epochs[first]),
        detection_delay(alarms, onset),
        tuple(false_alarms(episodes(alarms), onset)),
    )
