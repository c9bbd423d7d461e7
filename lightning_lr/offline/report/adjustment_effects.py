"""What each change of the learning rate brought: the rate of progress before it and after it.

Progress is the slope of the monitor over at most ten checks, none of them under another rate. A verdict is given only
where the two slopes differ beyond their errors: faster or slower where both improve, else better or worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_lr.engine.history.statistics import Trend, trend
from lightning_lr.offline.report.run_summary import Story

SPAN = 10
"""Checks on either side that a slope is read from."""


@dataclass(frozen=True)
class Change:
    """One change, and what followed.

    Attributes:
        place: position of the check after which it was made.
        old_rate: of the first group; NaN where unknown.
        new_rate: likewise.
        before: trend of the oriented monitor up to the check.
        after: trend from the next check on.
        sentence: what it brought.
    """

    place: int
    old_rate: float
    new_rate: float
    before: Trend
    after: Trend
    sentence: str


def changes_of(story: Story) -> list[Change]:
    """Every change of a run with the progress around it."""
    bounds = [-1, *story.changes, len(story.values) - 1]
    return [_change(story, *around) for around in zip(bounds, bounds[1:], bounds[2:], strict=False)]


def _change(story: Story, former: int, place: int, following: int) -> Change:
    before = trend(_finite(story.values[max(former + 1, place + 1 - SPAN) : place + 1]))
    after = trend(_finite(story.values[place + 1 : min(following, place + SPAN) + 1]))
    line, later = story.lines[place], story.rates[place + 1 : place + 2]
    new = next(iter(line.adjustment.rates.values())).applied if line.adjustment.rates else math.nan
    new_rate = later[0] if later and math.isfinite(later[0]) else new
    return Change(place, story.rates[place], new_rate, before, after, _sentence(story, before, after))


def _finite(values: tuple[float, ...]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _sentence(story: Story, before: Trend, after: Trend) -> str:
    if after.points < 2:
        return "not known: too few checks came after it"
    moves = [_moved(story, trend) for trend in (before, after)]
    if before.points < 2:
        return f"{moves[1]} afterwards; before it there were too few checks to compare"
    gained = before.slope - after.slope
    # A perfect line has no error, but rounding.
    reach = 2 * math.hypot(before.error, after.error) + 1e-6 * (abs(before.slope) + abs(after.slope))
    more, less = ("faster", "slower") if max(before.slope, after.slope) <= 0 else ("better", "worse")
    verdict = more if gained > reach else less if gained < -reach else "no difference beyond the noise"
    return f"{moves[0]} before, {moves[1]} after: {verdict}"


def _moved(story: Story, trend: Trend) -> str:
    """In the direction in which the user sees the metric move."""
    slope = story.shown(trend.slope)
    return f"{'rose' if slope > 0 else 'fell'} {abs(slope):.2g} a check" if slope else "stood still"
