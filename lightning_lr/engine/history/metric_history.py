"""One series of readings → its level, noise, slope and best.

A :class:`MetricHistory` holds everything that the package remembers of one series. It is the only memory the
detectors have: they see the :class:`~lightning_lr.engine.records.MetricView` it returns, and keep nothing themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning_lr.engine.history.statistics import mean, recent_noise
from lightning_lr.engine.records import MetricView

WINDOW = 64
"""Values kept of one series. Enough for a slope error of 1 % of the noise; few enough for a check to stay fast."""

LARGEST = 1e100
"""A value beyond it counts as this: its square, and sums of such, are then still numbers."""

LOWERED = 0.1
"""Share by which the mean of a series must fall for an adjustment to have lowered it."""


@dataclass
class MetricHistoryState:
    """What is remembered of one series; plain numbers, saved whole."""

    values: list[float] = field(default_factory=list)
    first: float = math.nan
    best: float = math.nan
    best_check: int = -1
    since_best: int = 0
    noise: float = math.nan
    non_finite_streak: int = 0
    before: float | None = None
    failed_adjustments: int = 0


class MetricHistory:
    """Follows one series.

    Args:
        name: metric name.
        sign: +1 where lower is better, −1 where higher is better.
        min_delta: least absolute change that counts as improvement, ≥ 0.
        rel_delta: least change relative to |best| that counts as improvement, ≥ 0.

    >>> tracker = MetricHistory("val_acc", sign=-1)
    >>> for check, value in enumerate([0.5, 0.7, float("nan"), 0.69]):
    ...     view = tracker.update(value, check)
    >>> view.shown(view.best), view.best_check, view.since_best
    (0.7, 1, 2)
    """

    def __init__(self, name: str, sign: int = 1, min_delta: float = 0.0, rel_delta: float = 0.0) -> None:
        self.name = name
        self.sign = sign
        self.min_delta = min_delta
        self.rel_delta = rel_delta
        self.state = MetricHistoryState()

    def update(self, value: float | None, check: int) -> MetricView:
        """Take the value of one check (``None``: none arrived) and say where the series stands."""
        if value is not None:
            value = _bounded(value)
            self._take(self.sign * value, check)
        return self._signal(value)

    def extend(self, values: Sequence[float], check: int) -> MetricView:
        """Take several values of one check, oldest first."""
        values = values if not values or -LARGEST <= min(values) <= max(values) <= LARGEST else [*map(_bounded, values)]
        state, oriented = self.state, [self.sign * value for value in values]
        # A sum is finite only where each of them is: then nothing but a new best needs a look at single values.
        known = oriented and state.best_check >= 0
        if known and math.isfinite(sum(oriented)) and not self._improves(min(oriented)):
            state.values = [*state.values, *oriented][-WINDOW:]
            state.since_best += len(oriented)
            state.non_finite_streak = 0
        else:
            for value in oriented:
                self._take(value, check)
        return self._signal(values[-1] if values else None)

    def restart(self) -> None:
        """Forget the values, but neither the best nor the noise: what came before an adjustment has another trend."""
        state = self.state
        if state.values:
            level = mean(state.values)
            kept = state.before is not None and level > state.before - LOWERED * abs(state.before)
            state.failed_adjustments = state.failed_adjustments + 1 if kept else 0
            state.before = level
        self._keep_noise()
        state.values = []

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered, as plain values."""
        self._keep_noise()
        return asdict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.state = MetricHistoryState(**{**state, "values": list(state["values"])})

    def _take(self, value: float, check: int) -> None:
        state = self.state
        state.since_best += 1
        if not math.isfinite(value):
            # Never a statistic: one NaN in a mean or a minimum would deafen everything after it.
            state.non_finite_streak += 1
            return
        state.non_finite_streak = 0
        state.values.append(value)
        if len(state.values) > WINDOW:
            del state.values[0]
        if state.best_check < 0:
            state.first = value
        if state.best_check < 0 or self._improves(value):
            state.best, state.best_check, state.since_best = value, check, 0

    def _improves(self, value: float) -> bool:
        best = self.state.best
        if value >= best:
            return False
        # |best|, not best: with a negative best a plain factor would call a worsening metric an improvement.
        return value < best - max(self.min_delta, self.rel_delta * abs(best))

    def _keep_noise(self) -> None:
        """What was kept from earlier values gives way as soon as there are enough new ones."""
        self.state.noise = recent_noise(self.state.values, self.state.noise)

    def _signal(self, value: float | None) -> MetricView:
        state = self.state
        return MetricView(
            name=self.name,
            sign=self.sign,
            value=math.nan if value is None or not math.isfinite(value) else self.sign * value,
            fresh=value is not None,
            values=tuple(state.values),
            first=state.first,
            best=state.best,
            best_check=state.best_check,
            since_best=state.since_best,
            noise_before=state.noise,
            non_finite_streak=state.non_finite_streak,
            before=math.nan if state.before is None else state.before,
            failed_adjustments=state.failed_adjustments,
        )


def _bounded(value: float) -> float:
    return math.copysign(LARGEST, value) if LARGEST < abs(value) < math.inf else value
