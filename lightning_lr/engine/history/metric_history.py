"""One series of readings → its level, noise, slope, best, and the ages of its lowest values.

A :class:`MetricHistory` holds everything that the package remembers of one series. It is the only memory the
detectors have: they see the :class:`~lightning_lr.MetricView` it returns, and keep nothing themselves.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning_lr.engine.history.stall import LOWEST, RankTrend, deviations, trend_length
from lightning_lr.engine.history.statistics import mean, recent_noise
from lightning_lr.engine.records import MetricView

WINDOW = 64
"""Values kept of one series. Enough for a slope error of 1 % of the noise; few enough for a check to stay fast."""

LARGEST = 1e100
"""A value beyond it counts as this: its square, and sums of such, are then still numbers."""

LOWERED = 0.1
"""Share by which the mean of a series must fall for an adjustment to have lowered it."""

COARSE = 16
"""Lowest values so far that are kept over the whole run, evenly spaced; once they are full, every other one goes."""

ROUNDING = 0.01
"""Share of the noise, and of all that was gained, by which a value must lie below the lowest one to be a new best:
rounding makes none."""


@dataclass
class MetricHistoryState:
    """What is remembered of one series; plain numbers, saved whole. All values are oriented.

    Attributes:
        values: newest values of the run.
        count: finite values of the run.
        since_change: of these, since the last adjustment.
        start: value before training; ``None`` if it was not measured.
        first: of the run.
        best: by which ``min_delta`` and ``rel_delta`` count; the check of it, and values since.
        low: lowest value, by which only rounding counts; likewise. ``None`` without ages.
        lowest: the lowest values, ascending, each with its number.
        bests: lowest value so far, at every ``stride``-th value.
        non_finite_streak: values in a row that were not finite.
        before: mean between the last two adjustments.
        failed_adjustments: adjustments in a row that did not lower it.
    """

    values: list[float] = field(default_factory=list)
    count: int = 0
    since_change: int = 0
    start: float | None = None
    first: float = math.nan
    best: float = math.nan
    best_check: int = -1
    since_best: int = 0
    low: float | None = None
    low_check: int = -1
    since_low: int = 0
    lowest: list[tuple[float, int]] = field(default_factory=list)
    bests: list[float] = field(default_factory=list)
    stride: int = 1
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
        ages: whether the ages of its lowest values are kept: they tell whether it has stalled.

    >>> history = MetricHistory("val_acc", sign=-1)
    >>> for check, value in enumerate([0.5, 0.7, float("nan"), 0.69]):
    ...     view = history.update(value, check)
    >>> view.shown(view.best), view.best_check, view.since_best
    (0.7, 1, 2)
    """

    def __init__(
        self, name: str, sign: int = 1, min_delta: float = 0.0, rel_delta: float = 0.0, ages: bool = True
    ) -> None:
        self.name = name
        self.sign = sign
        self.min_delta = min_delta
        self.rel_delta = rel_delta
        self.ages = ages
        self.state = MetricHistoryState()
        self._trend = RankTrend()

    def start_at(self, value: float) -> None:
        """Take the value before training, once."""
        if self.state.start is None and math.isfinite(value):
            self.state.start = self.sign * _bounded(value)

    def update(self, value: float | None, check: int) -> MetricView:
        """Take the value of one check (``None``: none arrived) and say where the series stands."""
        if value is not None:
            value = _bounded(value)
            self._take(self.sign * value, check)
        return self._view(value)

    def extend(self, values: Sequence[float], check: int) -> MetricView:
        """Take several values of one check, oldest first."""
        values = values if not values or -LARGEST <= min(values) <= max(values) <= LARGEST else [*map(_bounded, values)]
        state, oriented = self.state, [self.sign * value for value in values]
        # A sum is finite only where each of them is: then nothing but a new best needs a look at single values.
        known = oriented and state.best_check >= 0 and not self.ages
        if known and math.isfinite(sum(oriented)) and not self._improves(min(oriented)):
            state.values = [*state.values, *oriented][-WINDOW:]
            state.count += len(oriented)
            state.since_change += len(oriented)
            state.since_best += len(oriented)
            state.non_finite_streak = 0
        else:
            for value in oriented:
                self._take(value, check)
        return self._view(values[-1] if values else None)

    def restart(self) -> None:
        """Begin anew after an adjustment: neither a trend nor an age spans a change of the learning rate."""
        state = self.state
        since = state.values[-state.since_change :] if state.since_change else []
        if since:
            level = mean(since)
            kept = state.before is not None and level > state.before - LOWERED * abs(state.before)
            state.failed_adjustments = state.failed_adjustments + 1 if kept else 0
            state.before = level
        state.since_change = 0
        self._trend.clear()

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered, as plain values."""
        return asdict(self.state) | {"lowest": [list(pair) for pair in self.state.lowest]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        lists = {"values": list(state["values"]), "bests": list(state["bests"])}
        lowest = [(float(value), int(number)) for value, number in state["lowest"]]
        self.state = MetricHistoryState(**{**state, **lists, "lowest": lowest})
        self._trend.clear()
        if self.ages:
            length = min(trend_length(self.state.count), self.state.since_change) if self.state.count else 0
            for value in self.state.values[len(self.state.values) - length :]:
                self._trend.add(value, WINDOW)

    def _take(self, value: float, check: int) -> None:
        state = self.state
        state.since_best += 1
        if not math.isfinite(value):
            # Never a statistic: one NaN in a mean or a minimum would deafen everything after it.
            state.non_finite_streak += 1
            return
        state.non_finite_streak = 0
        if self.ages:
            self._take_low(value, check)
        state.count += 1
        state.since_change += 1
        state.values.append(value)
        if len(state.values) > WINDOW:
            del state.values[0]
        if state.best_check < 0:
            state.first = value
        if state.best_check < 0 or self._improves(value):
            state.best, state.best_check, state.since_best = value, check, 0

    def _take_low(self, value: float, check: int) -> None:
        state, number = self.state, self.state.count + 1
        self._trend.add(value, trend_length(number))
        state.since_low += 1
        if state.low is None or value < state.low - max(self.min_delta, self._rounding()):
            state.low, state.low_check, state.since_low = value, check, 0
        lowest = state.lowest
        if len(lowest) < LOWEST or value < lowest[-1][0]:
            insort(lowest, (value, number))
            del lowest[LOWEST:]
        if number % state.stride == 0:
            state.bests.append(lowest[0][0])
            if len(state.bests) == COARSE:
                state.bests = state.bests[1::2]
                state.stride *= 2

    def _rounding(self) -> float:
        state = self.state
        return ROUNDING * min(recent_noise(state.values), state.first - state.best) if state.count > 3 else 0.0

    def _improves(self, value: float) -> bool:
        best = self.state.best
        if value >= best:
            return False
        # |best|, not best: with a negative best a plain factor would call a worsening metric an improvement.
        return value < best - max(self.min_delta, self.rel_delta * abs(best), self._rounding())

    def _view(self, value: float | None) -> MetricView:
        state = self.state
        view = object.__new__(MetricView)  # the constructor of a frozen record takes four times as long
        view.__dict__.update(
            name=self.name,
            sign=self.sign,
            value=math.nan if value is None or not math.isfinite(value) else self.sign * value,
            fresh=value is not None,
            recent=tuple(state.values),
            first=state.first,
            best=state.best,
            best_check=state.best_check,
            since_best=state.since_best,
            count=state.count,
            since_change=state.since_change,
            start=math.nan if state.start is None else state.start,
            low=math.nan if state.low is None else state.low,
            low_check=state.low_check,
            since_low=state.since_low,
            lowest=tuple(state.lowest),
            half_way=state.bests[len(state.bests) // 2 - 1] if len(state.bests) >= COARSE // 2 else math.nan,
            rank_trend=deviations(self._trend.pairs, len(self._trend)),
            non_finite_streak=state.non_finite_streak,
            before=math.nan if state.before is None else state.before,
            failed_adjustments=state.failed_adjustments,
        )
        return view


def _bounded(value: float) -> float:
    return math.copysign(LARGEST, value) if LARGEST < abs(value) < math.inf else value
