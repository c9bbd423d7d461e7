"""Whether the run has learned anything yet: only then is its best state worth a snapshot."""

from __future__ import annotations

import math
from statistics import fmean
from typing import TypeGuard

from lightning_lr.engine.records import MetricView, MetricViews

LEVEL = 3
"""Blocks in the present level of the training loss: one may be a lucky batch."""

SURE = 6.0
"""Deviations of one value by which a monitor must have fallen. The lowest of sixty values of pure noise lies five below
any one of them."""

LEAST_FALL = 0.05
"""Share of its whole fall by which it must have fallen as well: a network that explodes and dies falls at once."""


def has_learned(views: MetricViews) -> bool:
    """Whether the training loss, or the first monitor, lies below where it began, beyond its noise.

    A run whose first rate kills the network still has a "best" check now and then, by luck. To restore it would bring
    the dead network back; the state of the start is the better one as long as nothing was learned. True where there is
    no training loss to tell.

    The loss of the very first batch is one noisy number (a squared error on 32 samples scatters by a quarter), so a
    lucky one hides the progress of a whole run. A validation set is the same at every check: its fall is sure much
    sooner. What its first value was is not asked, since a network that explodes and dies falls from there as well.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> steady, dead = MetricHistory("val_loss"), MetricHistory("val_loss")
    >>> for check, values in enumerate([(1.07, 9.0), (1.06, 2.303), (1.03, 2.301), (0.99, 2.304), (0.93, 2.3)]):
    ...     views = [tracker.update(value, check) for tracker, value in zip((steady, dead), values)]
    >>> [has_fallen(view) for view in views]
    [True, False]
    """
    return not _tells(views.blocks) or has_surely_learned(views)


def has_surely_learned(views: MetricViews) -> bool:
    """The same, and false where there is no training loss to tell and the monitor has not fallen."""
    blocks = views.blocks
    if _tells(blocks) and fmean(blocks.values[-LEVEL:]) < blocks.first - 2 * blocks.noise / math.sqrt(LEVEL):
        return True
    return bool(views.monitors) and has_fallen(views.monitors[0])


def _tells(blocks: MetricView | None) -> TypeGuard[MetricView]:
    return blocks is not None and len(blocks.values) >= LEVEL and not math.isnan(blocks.noise)


def has_fallen(view: MetricView) -> bool:
    """Whether a series lies far below the second of its values."""
    if len(view.values) < 2 or math.isnan(view.noise):
        return False
    fall = view.values[1] - view.best
    return fall > max(SURE * view.noise, LEAST_FALL * (max(view.first, view.values[1]) - view.best))
