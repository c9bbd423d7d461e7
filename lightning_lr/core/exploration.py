"""Which learning rates to try at the start of a run, and which one to go by: losses in, rate out.

The sweep is a range test (Smith 2015) made of ordinary training steps: each step uses a rate a little higher than the
last, until the loss has clearly exploded or the range is through. Then weights and optimizer state come back from a
snapshot, and the run goes on with the rate that was chosen. The range is absolute, so where the run would have started
does not matter. Where the budget allows, a :mod:`~lightning_lr.core.tournament` around that rate comes before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_lr.core.records import Trial
from lightning_lr.core.tournament import BRANCHES, branch_steps

LOWEST, HIGHEST = 1e-6, 10.0
"""The range of the sweep: below 1e-6 no optimizer in use moves within a hundred steps, above 10 none stays."""

STEPS = 100
"""Steps of a full sweep: 14 a decade. Fewer blur the edge, more cost without moving it."""

SHARE = 8
"""A sweep takes at most the 8th part of the budget; see docs/decisions/0004-exploration.md."""

FEWEST = 20
"""Below that many steps a sweep would jump by a factor of 2.2 a step: the loss cannot follow; better none."""

SMOOTHING = 0.9
"""Weight of the past in the smoothed loss. One lucky batch once chose 1e-7, and the run stood still."""

EXPLODED = 4.0
"""The sweep ends once the smoothed loss is this many times its lowest, as fastai's range test does."""

BELOW_LOWEST = 10.0
"""The rate that is kept lies this factor below the rate of the lowest smoothed loss: the smoothed loss lags behind,
and at its lowest the rate already hurts. Half of it and twice were both worse on the benchmark tasks."""


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
        return len(smooth) > 10 and smooth[-1] > EXPLODED * min(smooth) > 0


def suggested_rate(trial: Trial) -> float | None:
    """The rate that a sweep suggests; ``None`` where no step had a finite loss.

    The first few steps are left out, since the smoothed loss is that of single batches there.

    >>> sweep, valley = Sweep(100), [1.0] * 50 + [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.5, 0.9, 2.0, 9.0]
    >>> print(f"{suggested_rate(Trial(tuple(map(sweep.rate, range(60))), tuple(valley))):.2g}")
    0.00091
    """
    finite = [(rate, loss) for rate, loss in zip(trial.rates, trial.losses, strict=True) if math.isfinite(loss)]
    if not finite:
        return None
    smooth = smoothed([loss for _, loss in finite])
    skipped = min(10, len(smooth) // 4)
    lowest = min(range(skipped, len(smooth)), key=lambda step: smooth[step])
    return finite[lowest][0] / BELOW_LOWEST


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


@dataclass(frozen=True)
class Exploration:
    """How the steps of an exploration are used.

    Attributes:
        sweep: over all rates.
        branch_steps: steps of each short run after it; 0 for none.
    """

    sweep: Sweep
    branch_steps: int

    @property
    def most(self) -> int:
        """Optimizer steps that it takes at the most."""
        return self.sweep.steps + BRANCHES * self.branch_steps


def plan_exploration(budget: int | None) -> Exploration | None:
    """The exploration for a budget of optimizer steps; ``None`` where the budget is too small for one.

    Args:
        budget: optimizer steps of the whole run; ``None`` where that is unknown.

    >>> plan_exploration(1000), plan_exploration(400).most, plan_exploration(100)
    (Exploration(sweep=Sweep(steps=100, lowest=1e-06, highest=10.0), branch_steps=30), 86, None)
    """
    steps = STEPS if budget is None else min(STEPS, budget // SHARE)
    return Exploration(Sweep(steps), branch_steps(budget)) if steps >= FEWEST else None
