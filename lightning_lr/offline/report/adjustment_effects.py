"""What each change of the learning rate brought: the rate of progress before it and after it.

Progress is the slope of the monitor over at most ten checks, none of them under another rate. A verdict is given only
if the two slopes differ beyond their errors: faster or slower if both improve, else better or worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_lr.engine.history.statistics import Trend, trend
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline.report.run_summary import RunSummary

SPAN = 10
"""Checks on either side that a slope is read from."""


@dataclass(frozen=True)
class AdjustmentEffect:
    """One change, and what followed.

    Attributes:
        place: position of the check after which it was made.
        old_rate: of the first group; NaN if unknown.
        new_rate: likewise.
        sentence: what it brought.
    """

    place: int
    old_rate: float
    new_rate: float
    sentence: str


def adjustment_effects(summary: RunSummary) -> list[AdjustmentEffect]:
    """Every change of a run with what it brought."""
    bounds = [-1, *summary.changes, len(summary.values) - 1]
    return [_effect(summary, *around) for around in zip(bounds, bounds[1:], bounds[2:], strict=False)]


def _effect(summary: RunSummary, former: int, place: int, following: int) -> AdjustmentEffect:
    line, later = summary.lines[place], summary.rates[place + 1 : place + 2]
    new = next(iter(line.adjustment.rates.values())).applied if line.adjustment.rates else math.nan
    new_rate = later[0] if later and math.isfinite(later[0]) else new
    stopped = line.decision.action is Action.STOP
    brought = "training ended" if stopped else _brought(summary, former, place, following)
    return AdjustmentEffect(place, summary.rates[place], new_rate, brought)


def _brought(summary: RunSummary, former: int, place: int, following: int) -> str:
    before, after = _trend(summary, former, place), _trend(summary, place, min(following, place + SPAN))
    if after.points < 2:
        return "not known: too few checks came after it"
    moved = [_moved(summary, trend) for trend in (before, after)]
    if before.points < 2:
        return f"{moved[1]} afterwards; before it there were too few checks to compare"
    gained = before.slope - after.slope
    # A perfect line has no error, but rounding.
    reach = 2 * math.hypot(before.error, after.error) + 1e-6 * (abs(before.slope) + abs(after.slope))
    more, less = ("faster", "slower") if max(before.slope, after.slope) <= 0 else ("better", "worse")
    verdict = more if gained > reach else less if gained < -reach else "no difference beyond the noise"
    return f"{moved[0]} before, {moved[1]} after: {verdict}"


def _trend(summary: RunSummary, after: int, upto: int) -> Trend:
    """Of the last checks after a place and up to another."""
    values = summary.values[max(after, upto - SPAN) + 1 : upto + 1]
    return trend([value for value in values if math.isfinite(value)])


def _moved(summary: RunSummary, trend: Trend) -> str:
    """In the direction in which the user sees the metric move."""
    slope = summary.shown(trend.slope)
    return f"{'rose' if slope > 0 else 'fell'} {abs(slope):.2g} a check" if slope else "stood still"
