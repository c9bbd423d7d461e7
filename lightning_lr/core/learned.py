"""Whether the run has learned anything yet: only then is its best state worth a snapshot."""

from __future__ import annotations

import math
from statistics import fmean
from typing import TypeGuard

from lightning_lr.core.records import Signal, Signals

LEVEL = 3
"""Blocks in the present level of the training loss: one may be a lucky batch."""

SURE = 6.0
"""Deviations of one value by which a monitor must have fallen. The lowest of sixty values of pure noise lies five below
any one of them."""

SHARE = 0.05
"""Share of its value by which it must have fallen as well: a dead network still wanders by a per cent."""


def has_learned(signals: Signals) -> bool:
    """Whether the training loss, or the first monitor, lies below where it began, beyond its noise.

    A run whose first rate kills the network still has a "best" check now and then, by luck. To restore it would bring
    the dead network back; the state of the start is the better one as long as nothing was learned. True where there is
    no training loss to tell.

    The loss of the very first batch is one noisy number (a squared error on 32 samples scatters by a quarter), so a
    lucky one hides the progress of a whole run. A validation set is the same at every check: its fall is sure much
    sooner. What its first value was is not asked, since a network that explodes and dies falls from there as well.

    >>> from lightning_lr.core.signals import SignalTracker
    >>> steady, dead = SignalTracker("val_loss"), SignalTracker("val_loss")
    >>> for check, values in enumerate([(1.07, 9.0), (1.06, 2.303), (1.03, 2.301), (0.99, 2.304), (0.93, 2.3)]):
    ...     signals = [tracker.update(value, check) for tracker, value in zip((steady, dead), values)]
    >>> [has_fallen(signal) for signal in signals]
    [True, False]
    """
    return not _tells(signals.blocks) or has_surely_learned(signals)


def has_surely_learned(signals: Signals) -> bool:
    """The same, and false where there is no training loss to tell and the monitor has not fallen."""
    blocks = signals.blocks
    if _tells(blocks) and fmean(blocks.values[-LEVEL:]) < blocks.first - 2 * blocks.noise / math.sqrt(LEVEL):
        return True
    return bool(signals.monitors) and has_fallen(signals.monitors[0])


def _tells(blocks: Signal | None) -> TypeGuard[Signal]:
    return blocks is not None and len(blocks.values) >= LEVEL and not math.isnan(blocks.noise)


def has_fallen(signal: Signal) -> bool:
    """Whether a series lies far below the second of its values."""
    if len(signal.values) < 2 or math.isnan(signal.noise):
        return False
    fall = signal.values[1] - signal.best
    return fall > max(SURE * signal.noise, SHARE * abs(signal.values[1]))
