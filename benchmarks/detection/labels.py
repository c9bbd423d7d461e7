"""The objective rule that labels a recorded run, from data that no detector sees.

It rests on the *smoothed* test loss (mean of 5 checks around), on the training loss, and on the gain G = test loss
of the untrained
model − the minimum of the smoothed test loss. The first rule that is met counts:

1. **divergence**: the last three training losses lie above the lowest by more than half of all that training had
   gained, or
   are not finite. Onset: one after the last check at which it was within a tenth of that gain above its lowest.
2. **overfitting**: the smoothed test loss at the end is more than 3 % of G above its minimum, and the smoothed training
   loss has fallen from that minimum to the end by more than 3 % of what it gained in all, and never was above its
   start. Onset: the minimum
   of the smoothed test loss.
3. **plateau**: from the onset to the end, 25 checks or more, the smoothed test loss falls by less than 1 % of G
   below its value at the
   onset, and the onset is the earliest check of which that is true.
4. **healthy**: over the last quarter of the run the smoothed test loss still falls by more than 3 % of G.
5. anything else lies between these, and is left out of the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from lightning_lr.engine.vocabulary import Condition


def smoothed(values: Sequence[float], around: int = 2) -> list[float]:
    """Centred means of five values; fewer at the ends.

    >>> smoothed([0.0, 1.0, 2.0], around=1)
    [0.5, 1.0, 1.5]
    """
    return [fmean(values[max(0, i - around) : i + around + 1]) for i in range(len(values))]


def label(test: Sequence[float], train: Sequence[float], start: float) -> tuple[Condition, int | None] | None:
    """Condition and onset of a run; ``None`` where no rule is met.

    >>> label([1.0 / (1 + i) for i in range(5)] + [0.2] * 50, [1.0 / (1 + i) for i in range(55)], start=2.0)
    ('plateau', 5)
    """
    return diverged(train) or overfit(test, train, start) or flat(test, start) or still_falling(test, start)


def diverged(train: Sequence[float]) -> tuple[Condition, int] | None:
    """Rule 1."""
    loss = [value if math.isfinite(value) else math.inf for value in train]
    lowest = min(loss)
    gain = loss[0] - lowest
    if min(loss[-3:]) <= lowest + 0.5 * gain:
        return None
    return Condition.DIVERGENCE, 1 + max(i for i, value in enumerate(loss) if value <= lowest + 0.1 * gain)


def overfit(test: Sequence[float], train: Sequence[float], start: float) -> tuple[Condition, int] | None:
    """Rule 2."""
    loss, fit = smoothed(test), smoothed(train)
    turn = loss.index(min(loss))
    risen = loss[-1] - loss[turn] > 0.03 * (start - loss[turn])
    learned = fit[turn] - fit[-1] > 0.03 * (train[0] - min(fit)) and max(train[turn:]) < train[0] * 1.05
    return (Condition.OVERFITTING, turn) if risen and learned else None


def flat(test: Sequence[float], start: float) -> tuple[Condition, int] | None:
    """Rule 3."""
    loss = smoothed(test)
    gain = start - min(loss)
    onset = next(i for i in range(len(loss)) if loss[i] - min(loss[i:]) < 0.01 * gain)
    return (Condition.PLATEAU, onset) if len(loss) - onset >= 25 and max(test) < 2 * start else None


def still_falling(test: Sequence[float], start: float) -> tuple[Condition, None] | None:
    """Rule 4."""
    loss = smoothed(test)
    fallen = loss[3 * len(loss) // 4] - loss[-1]
    return (Condition.HEALTHY, None) if fallen > 0.03 * (start - min(loss)) else None


def numbers(values: Sequence[float | None]) -> list[float]:
    """``None`` back to NaN."""
    return [math.nan if value is None else value for value in values]
