"""Plateau: no new best, and the descent of before has stopped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from operator import mul, sub
from typing import NamedTuple

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.metric_history import WINDOW
from lightning_lr.engine.history.statistics import least_squares, trend
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Condition, Verdict

AGED = tuple(-((index + 3) ** -0.8) for index in range(WINDOW))
"""The time axis on which a healthy descent is straight or bends downwards.

Losses fall about like (time + a little)^−p. On the axis −t^−0.8 such a curve is a line for p = 0.8, and falls ever
faster for a smaller p and for an exponential descent: so a straight continuation promises no more than health delivers.
On a plain time axis every descent flattens, and flattening would pass for a plateau."""

SUMS = (0.0, *accumulate(AGED))
SQUARES = (0.0, *accumulate(map(mul, AGED, AGED)))


@dataclass(frozen=True)
class Stop:
    """How far the newest values lie above the continuation of those before them.

    Attributes:
        window: how many newest values.
        expected: how far they should have fallen by their middle, had the descent gone on.
        score: height of their mean above ``share`` of that fall, in standard errors.
    """

    window: int
    expected: float
    score: float


class Axis(NamedTuple):
    """What the time axis alone tells of a window and of the line before it.

    Attributes:
        window: how many newest values.
        line: how many values before them.
        start: where the line starts.
        end: where it ends, and the window starts.
        time: mean time of the line.
        spread: sum of the squared distances to that mean.
        to_end: from the mean time of the line to its end.
        ahead: from the end of the line to the mean time of the window, negative.
        least: least that the error of the comparison can be, in deviations of one value.
    """

    window: int
    line: int
    start: int
    end: int
    time: float
    spread: float
    to_end: float
    ahead: float
    least: float


@lru_cache(maxsize=4 * WINDOW)
def axes(n: int, fewest: int, memory: int) -> tuple[Axis, ...]:
    """The windows over ``n`` values, shortest first.

    >>> [(axis.start, axis.end) for axis in axes(24, fewest=5, memory=3)]
    [(4, 19), (0, 18)]
    """
    made = []
    for window in range(fewest, n // (memory + 1) + 1):
        end, line = n - window, memory * window
        start = end - line
        time = (SUMS[end] - SUMS[start]) / line
        made.append(
            Axis(
                window=window,
                line=line,
                start=start,
                end=end,
                time=time,
                spread=SQUARES[end] - SQUARES[start] - line * time * time,
                to_end=AGED[end - 1] - time,
                ahead=AGED[end - 1] - (SUMS[n] - SUMS[end]) / window,
                least=math.sqrt(1 / window + 1 / line),
            )
        )
    return tuple(made)


@dataclass(frozen=True)
class PlateauDetector(Detector):
    """Finds a monitor that has stopped improving.

    "No new best" alone is not a plateau: after a spike, or from an unlucky start, a metric may fall steadily and stay
    above an old best for long; and noise hides a steady descent for as long as it is large beside the pace. So the
    newest
    values are compared with those before them: a line through the ``memory``·w values before (on a time axis on which
    healthy descents are straight) is drawn on over the newest w, and

        score = (mean of the newest w − the line, drawn on at ``share`` of its slope)/standard error.

    w is the shortest window over which a full stop would show as ``clear`` standard errors: a few checks where the
    metric is calm, more where it is noisy. The patience of the peers cannot adapt like this. The verdict is

    * no, at a new best;
    * yes, where the score reaches ``caution`` and the newest w do not themselves still fall at the full pace;
    * yes, where the values repeat the best exactly: a metric that still moves never does;
    * yes, where the slope over the last ``give_up`` values is not below zero: whatever gain there is has not shown
      (dlib's
      rule); or after twice as many checks without a new best;
    * undecided otherwise: more checks will tell.

    A metric that rises counts as flat: it surely does not improve. Whether the model overfits is another detector's
    question, which outranks this one. No window spans an upward jump.

    Args:
        share: share of the earlier pace that already counts as stopped, 0 to 1. 0.5: as far from going on as from a
            full stop.
        clear: standard errors as which a full stop must show. 2: the wait for more costs more checks than it saves
            errors.
        caution: standard errors above the halved pace. 3: asked again at every check, it must err at one look in a
            thousand.
        fewest: least w, in checks. 5: neighbouring values are correlated, and fewer of them wander together.
        memory: how much longer the line is than the window. 3: its own error is then no larger than the window's.
        give_up: values over which a slope that is not below zero ends the waiting, in checks. 22: at 16 a small
            validation set hid a healthy descent in ten of 25 runs, at 22 in one of fifty.
        jump: upward step, in deviations of one value, that starts the windows anew. 6: not once in a million steps
            of noise.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> tracker, detector = MetricHistory("val_loss"), PlateauDetector()
    >>> for check, loss in enumerate([1.0, 0.8, 0.7, 0.65, 0.65, 0.65, 0.65]):
    ...     view = tracker.update(loss, check)
    ...     (finding,) = detector.examine(MetricViews(check, (view,)))
    ...     if finding.verdict is Verdict.YES:
    ...         print(check, finding.reason)
    4 val_loss has had no new best for 1 check (best 0.65 at check 3, slope +0 ± 0 a check)
    5 val_loss has had no new best for 2 checks (best 0.65 at check 3, slope +0 ± 0 a check)
    6 val_loss has had no new best for 3 checks (best 0.65 at check 3, slope +0 ± 0 a check)
    """

    condition = Condition.PLATEAU
    precedence = 70  # it only says that no gain is seen; the conditions before it say why
    votes = True
    color, mark = "#0072b2", "circle"

    share: float = 0.5
    clear: float = 2.0
    caution: float = 3.0
    fewest: int = 5
    memory: int = 3
    give_up: int = 22
    jump: float = 6.0

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding for each fresh monitor."""
        return tuple(self._examine(view) for view in views.fresh)

    def _examine(self, view: MetricView) -> Finding:
        stop = self._stop(view) if view.since_best else None
        recent = trend(view.values[-(view.since_best + 1) :], 0.0 if stands_still(view) else view.noise)
        return self.finding(
            self._verdict(view, stop),
            view.name,
            stop.score if stop else 0.0,
            self.caution,
            since_best=view.since_best,
            best=view.shown(view.best),
            best_check=view.best_check,
            slope=view.shown(recent.slope),
            slope_error=recent.error,
            window=stop.window if stop else 0,
            expected_gain=stop.expected if stop else 0.0,
        )

    def describe(self, finding: Finding) -> str:
        """For how long there was no new best, and the slope since then."""
        known = finding.evidence
        slope = f", slope {known['slope']:+.2g} ± {known['slope_error']:.2g} a check"
        return (
            f"{finding.monitor} has had no new best for {known['since_best']:.0f} check{plural(known['since_best'])} "
            f"(best {known['best']:.4g} at check {known['best_check']:.0f}"
            f"{slope if math.isfinite(known['slope_error']) else ''})"
        )

    def _verdict(self, view: MetricView, stop: Stop | None) -> Verdict:
        if view.since_best == 0:
            return Verdict.NO
        if (stop is not None and stop.score >= self.caution) or stands_still(view):
            return Verdict.YES
        longest = view.values[-self.give_up :]
        level = len(longest) == self.give_up and least_squares(longest)[0] >= 0
        # Where adjustments follow each other so fast that no window fills, the best alone must tell.
        return Verdict.YES if level or view.since_best >= 2 * self.give_up else Verdict.UNDECIDED

    def _stop(self, view: MetricView) -> Stop | None:
        usable = after_jump(view.values, self.jump * view.noise)
        return self.stop(usable, view.noise)

    def stop(self, values: Sequence[float], noise: float) -> Stop | None:
        """The newest values against the continuation of those before; ``None`` where noise hides the pace.

        Sums from the start make each window a handful of operations, whatever its length.
        """
        n = len(values)
        if math.isnan(noise) or n < self.fewest * (self.memory + 1):
            return None
        total, crossed = (0.0, *accumulate(values)), (0.0, *accumulate(map(mul, AGED, values)))
        for axis in axes(n, self.fewest, self.memory):
            end, line = axis.end, axis.line
            level = (total[end] - total[axis.start]) / line
            slope = (crossed[end] - crossed[axis.start] - line * axis.time * level) / axis.spread
            expected = slope * axis.ahead
            # The error is not below noise·least: most windows are ruled out without it.
            if slope >= 0 or (1 - self.share) * expected < self.clear * noise * axis.least:
                continue
            reach = axis.to_end - self.share * expected / slope
            error = noise * math.sqrt(1 / axis.window + 1 / line + reach * reach / axis.spread)
            if (1 - self.share) * expected >= self.clear * error:
                height = (total[n] - total[end]) / axis.window - level - slope * reach
                falling = -least_squares(values[end:])[0] * axis.window > expected
                return Stop(axis.window, expected, 0.0 if falling else height / (error or 1e-9 * expected))
        return None


def stands_still(view: MetricView) -> bool:
    """Whether the values repeat the best exactly."""
    since = view.values[-(view.since_best + 1) :]
    if not since or since[0] != since[-1]:
        return False
    return min(since) == max(since) and (len(since) > 1 or since[0] == view.best)


def after_jump(values: Sequence[float], height: float) -> Sequence[float]:
    """The values after the last upward step of more than ``height``, without the value that it led to.

    >>> after_jump([3.0, 2.0, 9.0, 2.0, 1.5], height=5.0)
    [2.0, 1.5]
    """
    if not height > 0 or not values or max(values) - min(values) <= height:
        return values  # calm as it nearly always is: no need to look at single steps
    if not any(map(height.__lt__, map(sub, values[1:], values))):
        return values
    for index in range(len(values) - 1, 0, -1):
        if values[index] - values[index - 1] > height:
            return values[index + 1 :]
    return values
