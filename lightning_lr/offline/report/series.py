"""The curves that both pictures of a run draw, the figure and the page; a mark has the color of its detector.

The colors are Okabe and Ito's, which colour-blind readers can tell apart; the rates have darker ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_lr.engine.detectors import look_of
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.records import Decision
from lightning_lr.engine.text import kind
from lightning_lr.engine.vocabulary import Action

MONITORS = ("#111111", "#56B4E9", "#009E73", "#CC79A7")
"""The monitors, in the user's order."""

TRAINING = "#999999"
"""The training loss."""

RATES = ("#8c5a2b", "#6b7a1f", "#a0527d", "#4b6a88", "#b08d57", "#3f7f6f", "#7a6a9b", "#5c5c5c")
"""The groups' rates: no color of a detector, since marks lie on them."""

MOST_RATES = 8
"""Parameter groups whose rates are drawn; more could not be told from each other."""


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        name: of the metric or the parameter group.
        xs: checks.
        ys: values; NaN where they are not finite.
        color: as ``#rrggbb``.
    """

    name: str
    xs: list[int]
    ys: list[float]
    color: str


@dataclass(frozen=True)
class Mark:
    """A decision in a picture: a point on the curve of the first group's rate.

    Attributes:
        check: where it is.
        rate: that the group holds from then on, as in the tab; NaN if it is not known.
        kind: what the legend calls it.
        color: of the detector.
        symbol: likewise, by plotly's name.
        decision: what was decided.
    """

    check: int
    rate: float
    kind: str
    color: str
    symbol: str
    decision: Decision


def marks_of(lines: Sequence[JournalLine], detectors: Sequence[Detector] = ()) -> list[Mark]:
    """The decisions that changed something.

    Args:
        lines: the checks.
        detectors: those of the user, from the settings of the run: they color their marks.
    """
    found = []
    for line in lines:
        decision = line.decision
        if decision.action is not Action.HOLD:
            rate = next(iter((line.adjustment.rates or line.reading.rates).values()), None)
            what = kind(decision.condition, decision.action)
            look, now = look_of(decision.condition, detectors, what), rate.applied if rate else math.nan
            found.append(Mark(decision.check, now, what, *look, decision))
    return found


def metric_series(lines: Sequence[JournalLine], most: int) -> list[Series]:
    """The training loss, if there is one, then each monitor; thinned to that many points."""
    readings = [line.reading for line in lines]
    names = dict.fromkeys(name for r in readings for name in r.metrics)
    training = [(r.check, r.train.mean) for r in readings if r.train]
    return [
        *([_thin("training loss", training, most, TRAINING)] if training else []),
        *(
            _thin(name, [(r.check, r.metrics[name]) for r in readings if name in r.metrics], most, MONITORS[n % 4])
            for n, name in enumerate(names)
        ),
    ]


def rate_series(lines: Sequence[JournalLine], most: int) -> list[Series]:
    """The rate of each group; a point's rate is the one since the point before, the last one's the one that follows."""
    found, last = [], lines[-1]
    names = list(dict.fromkeys(name for line in lines for name in line.reading.rates))[:MOST_RATES]
    for name, color in zip(names, RATES, strict=False):
        known = [(line.reading.check, line.reading.rates[name].applied) for line in lines if name in line.reading.rates]
        after = last.adjustment.rates.get(name)
        found.append(_thin(name, [*known, *([(last.reading.check + 1, after.applied)] if after else [])], most, color))
    return found


def _thin(name: str, points: Sequence[tuple[int, float]], most: int, color: str) -> Series:
    kept = points[:: math.ceil(len(points) / most) or 1]
    return Series(name, [x for x, _ in kept], [y if math.isfinite(y) else math.nan for _, y in kept], color)


def is_wide(series: Sequence[Series]) -> bool:
    """Whether a logarithmic axis shows more: all values are positive, and the largest is several times the smallest."""
    finite = [y for one in series for y in one.ys if math.isfinite(y)]
    return bool(finite) and min(finite) > 0 and max(finite) > 4 * min(finite)
