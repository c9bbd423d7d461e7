"""Detectors against labelled runs: the curves whose onset is known, or runs of the user's own with ``--onset``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lightning_lr.engine.detectors import Detector, default_detectors
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.vocabulary import Condition, Verdict
from lightning_lr.errors import ArgumentError
from lightning_lr.offline.curves import FAMILIES
from lightning_lr.offline.evaluate import Score, alarms_of, detection_delay, episodes, false_alarms, score
from lightning_lr.offline.logs.sources import Run


@dataclass(frozen=True)
class Alarms:
    """What one detector said to one run.

    Attributes:
        condition: what it looks for.
        first: check and epoch of the first alarm at or after the onset; ``None``: missed.
        delay: checks from the onset to it; NaN where it was missed, or where there is no onset.
        false: checks of the false alarms, the first of each row.
    """

    condition: Condition
    first: tuple[int, int] | None
    delay: float
    false: tuple[int, ...]


def curve_scores(seeds: int) -> list[tuple[Condition, int, Score]]:
    """Each detector on the curves of its own condition and on the healthy ones: condition, onsets, figures."""
    curves = [make(seed) for make in FAMILIES.values() for seed in range(seeds)]
    scores = []
    for detector in default_detectors():
        asked = [c for c in curves if c.condition in (detector.condition, Condition.HEALTHY)]
        runs = [(alarms_of(detector, c.readings), c.onset, len(c.readings)) for c in asked]
        scores.append((detector.condition, sum(c.onset is not None for c in asked), score(runs)))
    return scores


def run_alarms(run: Run, onset: str, condition: str | None) -> list[Alarms]:
    """What the detectors said to a run in which a condition really began at a known place.

    Args:
        run: any recorded run.
        onset: ``epoch=17``, ``check=17``, or ``none`` where nothing was the matter.
        condition: of the detector to ask; ``None`` for all.

    Raises:
        ArgumentError: where the onset is not in the run, or no detector looks for the condition.
    """
    series = RunHistory(
        run.settings.monitors, run.settings.mode, run.settings.train_monitor, run.settings.min_delta,
        run.settings.rel_delta,
    )  # fmt: skip
    detectors = _detectors(condition)
    alarms: list[list[int]] = [[] for _ in detectors]
    epochs = []
    for line in run.lines():
        views = series.update(line.reading)
        epochs.append(line.reading.epoch)
        for detector, own in zip(detectors, alarms, strict=True):
            if any(finding.verdict is Verdict.YES for finding in detector.examine(views)):
                own.append(views.check)
    start = onset_check(onset, epochs)
    return [_alarms(detector, own, start, epochs) for detector, own in zip(detectors, alarms, strict=True)]


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
    chosen = [d for d in offered if condition in (None, d.condition.value)]
    if not chosen:
        known = ", ".join(d.condition.value for d in default_detectors())
        raise ArgumentError(f"Expected a condition that a detector looks for ({known}) but got {condition!r}.")
    return chosen


def _alarms(detector: Detector, alarms: list[int], onset: int | None, epochs: Sequence[int]) -> Alarms:
    first = next((alarm for alarm in alarms if onset is not None and alarm >= onset), None)
    return Alarms(
        detector.condition,
        None if first is None else (first, epochs[first]),
        detection_delay(alarms, onset),
        tuple(false_alarms(episodes(alarms), onset)),
    )
