"""A sweep over learning rates, one step each: which rate comes next, when enough was seen, and what it suggests.

A range test (Smith 2015). Where the loss falls, the lowest point of its smoothed curve tells; where it lies flat until
it rises (a deep plain network leaves its plateau only after many steps), the rate at which it begins to rise does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lightning_lr.engine import text
from lightning_lr.engine.history.statistics import robust_noise
from lightning_lr.engine.records import Trial

LOWEST, HIGHEST = 1e-6, 10.0
"""The range of the sweep: below 1e-6 no optimizer in use moves within a hundred steps, above 10 none stays."""

SMOOTHING = 0.9
"""Weight of the past in the smoothed loss. One lucky batch once chose 1e-7, and the run stood still."""

EXPLODED = 4.0
"""A smoothed loss of four times its minimum ends the sweep: the edge is passed, and what follows is wasted."""

SKIPPED = 10
"""First steps that the minimum is not looked for in: the smoothed loss is that of single batches there."""

BELOW_LOWEST = 10.0
"""The rate that is kept lies this factor below the rate of the lowest smoothed loss: the smoothed loss lags behind,
and at its lowest the rate already hurts. Half of it and twice were both worse on the benchmark tasks."""

BELOW_EDGE = 20.0
"""The rate that is kept lies this factor below the one at which a loss that never fell begins to rise. Where a loss
does fall, its lowest point lies 1 to 5 times below that edge; the nearer half, since a rate that is too low never
leaves such a plateau, and one that is too high is found out. Of 12 runs of deep plain networks 4 stood still with 30,
one with 20 and one with 15."""

FALLEN = 2.0
"""Deviations of one step's loss by which the smoothed loss must have fallen. On 16 sweeps of deep plain networks that
lay flat it was 0.3 to 1.2, on 36 that learned classes or prices 3.8 and more (docs/decisions/0004-exploration.md)."""


@dataclass(frozen=True)
class Sweep:
    """A geometric sweep over learning rates.

    Attributes:
        steps: how many optimizer steps it takes at the most.
        lowest: rate of the first step.
        highest: rate of the last.

    >>> sweep = Sweep(steps=8)
    >>> [f"{sweep.rate(step):.0e}" for step in range(8)]
    ['1e-06', '1e-05', '1e-04', '1e-03', '1e-02', '1e-01', '1e+00', '1e+01']
    """

    steps: int
    lowest: float = LOWEST
    highest: float = HIGHEST

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return float(self.lowest * (self.highest / self.lowest) ** (step / (self.steps - 1)))

    def over(self, losses: Sequence[float]) -> bool:
        """Whether enough was seen: the range is through, or the loss has exploded or is no number.

        >>> Sweep(100).over([1.0] * 20), Sweep(100).over([1.0] * 20 + [50.0]), Sweep(100).over([float("nan")])
        (False, True, True)
        """
        if len(losses) >= self.steps or not math.isfinite(losses[-1]):
            return True
        smooth = smoothed(losses)
        return len(smooth) > SKIPPED and smooth[-1] > EXPLODED * min(smooth) > 0


@dataclass(frozen=True)
class Suggestion:
    """What a sweep comes to.

    Attributes:
        rate: the learning rate to go on with; ``None`` where the sweep tells nothing.
        seen: what the loss did, as half a sentence.
        share: the rate as a share of the one that ``seen`` names.
        fell: whether the loss fell: where it did not in a whole sweep, short trials cannot tell rates apart either.
    """

    rate: float | None
    seen: str
    share: str = ""
    fell: bool = False


def suggestion(trial: Trial) -> Suggestion:
    """The rate that a sweep suggests.

    >>> sweep, valley = Sweep(100), [1.0] * 50 + [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.5, 0.9, 2.0, 9.0]
    >>> found = suggestion(Trial(tuple(map(sweep.rate, range(60))), tuple(valley)))
    >>> print(f"{found.seen}: {found.share}, {found.rate:.2g}")
    the loss was lowest near 0.0091: a tenth of it, 0.00091
    >>> flat = suggestion(Trial(tuple(map(sweep.rate, range(80))), tuple([2.3, 2.31] * 38 + [2.4, 2.6, 3.5, 99.0])))
    >>> print(f"{flat.seen}: {flat.share}, {flat.rate:.2g}")
    the loss did not fall beyond its noise, and rose from 0.24 on: a twentieth of it, 0.012
    >>> suggestion(Trial(tuple(map(sweep.rate, range(100))), tuple([2.3, 2.31] * 50))).rate is None
    True
    """
    finite = [(rate, loss) for rate, loss in zip(trial.rates, trial.losses, strict=True) if math.isfinite(loss)]
    if not finite:
        return Suggestion(None, text.NO_FINITE_LOSS)
    losses = [loss for _, loss in finite]
    smooth, skipped = smoothed(losses), min(SKIPPED, len(finite) // 4)
    lowest = min(range(skipped, len(smooth)), key=smooth.__getitem__)
    start, noise = fmean(losses[: max(1, skipped)]), robust_noise(losses[: lowest + 1])
    if not smooth[lowest] > start - FALLEN * noise:
        rate = finite[lowest][0]
        return Suggestion(rate / BELOW_LOWEST, text.lowest_near(rate), "a tenth of it", fell=True)
    within = max(step for step in range(skipped, len(smooth)) if smooth[step] <= start + FALLEN * noise)
    if within == len(smooth) - 1:
        return Suggestion(None, text.FLAT_LOSS)
    rate = finite[within][0]
    return Suggestion(rate / BELOW_EDGE, text.rose_from(rate), "a twentieth of it")


def smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential mean, corrected for its start at zero.

    >>> smoothed([2.0, 2.0])
    [2.0, 2.0]
    """
    mean, result = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        result.append(mean / (1 - SMOOTHING**step))
    return result
