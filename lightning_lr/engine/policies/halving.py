"""Halve every N epochs until a range of rates performs well."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_lr.engine import text
from lightning_lr.engine.history.stall import FEWEST
from lightning_lr.engine.policies.epochs import EpochPolicy, EpochState
from lightning_lr.engine.records import Diagnosis, MetricView, MetricViews, Reading

WELL = 0.01
"""Share of all that the monitor has gained which a period must add to perform well."""

SURE = 2.0
"""Deviations of one value by which it must have gained as well: the best of ten values that stand still is lucky."""


@dataclass(frozen=True)
class HalvingPolicy(EpochPolicy):
    """Halve every N epochs until a range of rates performs well.

    A period of N epochs performs well if it improved the best by more than a hundredth of all that was gained, and
    beyond noise. Two periods in a row that perform well, at a rate and at half of it, are a range: the rate can be
    raised or lowered by two without harm. From then on it is held, until a period no longer performs well. A period
    without a finite value does not perform well.

    >>> HalvingPolicy(epochs=12).ratio
    0.5
    """

    name: str = "halving"
    epochs: int = 10
    ratio: float = 0.5

    def propose(
        self, state: EpochState, reading: Reading, views: MetricViews, diagnosis: Diagnosis
    ) -> tuple[float, str]:
        """Halve at the end of a period, or hold a range that performs well."""
        monitor, left = views.monitors[0], self._epochs_left(state, reading)
        if left > 0:
            return 1.0, text.rate_is_tried(left)
        performed, before = _performed_well(state, monitor), state.well
        state.well = before + 1 if performed else 0
        # None, not NaN, if no value was finite yet: the next period is then measured from the run's first value.
        state.best_before = monitor.best if math.isfinite(monitor.best) else None
        state.since_epoch = reading.epoch + 1
        factor = 1.0 if state.well >= 2 else self.ratio
        return factor, text.period_performed(self.epochs, performed, state.well, before, WELL)


def _performed_well(state: EpochState, monitor: MetricView) -> bool:
    before = state.best_before if state.best_before is not None else monitor.first
    noise = monitor.noise if monitor.count >= FEWEST else 0.0
    return monitor.best < before - max(WELL * monitor.gain, SURE * noise)
