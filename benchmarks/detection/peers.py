"""What the peers do, in ten lines each: from the readings of a run to the checks at which they would act.

Each is drawn as a curve over its own patience. They act on the validation value alone, and go on counting after they
acted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

from lightning_lr.engine.history.statistics import least_squares
from lightning_lr.engine.records import Reading
from lightning_lr.offline.curves import MONITOR


def torch_plateau(patience: int) -> Callable[[Sequence[Reading]], list[int]]:
    """``ReduceLROnPlateau``: better than best·(1 − 1e-4), acts when the bad checks *exceed* the patience."""

    def alarms(readings: Sequence[Reading]) -> list[int]:
        best, bad, acted = math.inf, 0, []
        for reading in readings:
            value = reading.metrics[MONITOR]
            best, bad = (value, 0) if value < best * (1 - 1e-4) else (best, bad + 1)
            if bad > patience:
                acted.append(reading.check)
                bad = 0
        return acted

    return alarms


def keras_plateau(patience: int) -> Callable[[Sequence[Reading]], list[int]]:
    """Keras ``ReduceLROnPlateau``: better than best − 1e-4 (absolute), acts when the bad checks *reach* it."""

    def alarms(readings: Sequence[Reading]) -> list[int]:
        best, bad, acted = math.inf, 0, []
        for reading in readings:
            value = reading.metrics[MONITOR]
            best, bad = (value, 0) if value < best - 1e-4 else (best, bad + 1)
            if bad >= patience:
                acted.append(reading.check)
                bad = 0
        return acted

    return alarms


def dlib_steps_without_decrease(window: int) -> Callable[[Sequence[Reading]], list[int]]:
    """dlib: acts when P(slope < 0) < 0.51 over the last ``window`` values, then forgets them."""

    def alarms(readings: Sequence[Reading]) -> list[int]:
        values: list[float] = []
        acted = []
        for reading in readings:
            values.append(reading.metrics[MONITOR])
            recent = [v for v in values[-window:] if math.isfinite(v)]
            if len(recent) < window:
                continue
            slope, scatter, spread = least_squares(recent)
            if NormalDist().cdf(-slope / max(scatter / math.sqrt(spread), 1e-300)) < 0.51:
                acted.append(reading.check)
                values = []
        return acted

    return alarms


PATIENCES = range(1, 21)
"""The patiences that every rule is judged at; dlib's window is two longer: three values give a slope with an error."""

PEERS: dict[str, Callable[[int], Callable[[Sequence[Reading]], list[int]]]] = {
    "torch": torch_plateau,
    "Keras": keras_plateau,
    "dlib": lambda patience: dlib_steps_without_decrease(patience + 2),
}
"""Name → rule at a patience."""
