"""Which of a few learning rates to keep after a sweep: each trains a short, annealed branch from the same state.

A sweep finds the edge beyond which training breaks down; how far below it the best rate lies differs from task to
task. So three rates, a factor of three apart, are tried in earnest: each for the same few steps on the same batches,
warmed up, held and annealed to zero. Annealed, since a loss that is looked at while the rate is still high favours
rates that are too low (the short-horizon bias of Wu et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_lr.engine.records import Branch

SHARE = 0.03
"""Part of the budget that one branch takes: three of them cost less than the sweep before them in a short run."""

FEWEST = 12
"""Below that many steps a branch has no time to be warmed up, held and annealed: then the sweep's rate is kept."""

MOST = 200
"""A longer branch tells no more about which of two rates a factor of three apart is the better one."""

BRANCHES = 3
"""The suggested rate, a higher one, and one beyond the better of the two."""

APART = 3.0
"""Factor between two rates. The loss over the logarithm of the rate is flat for about that much on either side."""

WARMED, ANNEALED = 0.1, 0.4
"""Parts of a branch over which its rate rises at the start, and falls to zero at the end."""

SCORED = 1 / 3
"""The last part of a branch, whose mean loss is its score."""


def branch_steps(budget: int | None) -> int:
    """Optimizer steps of one branch; 0 where the budget is too small for branches.

    >>> branch_steps(1000), branch_steps(300), branch_steps(None)
    (30, 0, 200)
    """
    steps = MOST if budget is None else min(MOST, int(SHARE * budget))
    return steps if steps >= FEWEST else 0


def next_rate(base: float, branches: Sequence[Branch]) -> float | None:
    """The rate of the next branch: first the sweep's own, then a higher one, then one beyond the best so far.

    Args:
        base: the rate that the sweep suggests.
        branches: those that were tried.

    Returns:
        The rate; ``None`` where all were tried, or the best has a worse one on either side.

    >>> low, high = Branch(0.1, 0.5), Branch(0.3, 0.4)
    >>> next_rate(0.1, []), round(next_rate(0.1, [low]), 3), round(next_rate(0.1, [low, high]), 3)
    (0.1, 0.3, 0.9)
    >>> round(next_rate(0.1, [low, Branch(0.3, 0.6)]), 3), next_rate(0.1, [low, high, Branch(0.9, 2.0)])
    (0.033, None)
    """
    if len(branches) < 2:
        return base * APART ** len(branches)
    if len(branches) >= BRANCHES:
        return None
    rates, best = [branch.rate for branch in branches], winner(branches).rate
    if best == max(rates):
        return base * APART ** (1 + sum(rate > base for rate in rates))
    return base / APART ** (1 + sum(rate < base for rate in rates)) if best == min(rates) else None


def multiple(step: int, steps: int) -> float:
    """The rate at one step of a branch, as a multiple of its level.

    >>> [round(multiple(step, 20), 2) for step in (0, 1, 11, 12, 15, 19)]
    [0.5, 1.0, 1.0, 0.89, 0.56, 0.11]
    """
    rise, fall = max(1.0, WARMED * steps), ANNEALED * steps
    return min(1.0, (step + 1) / rise, (steps - step) / (fall + 1))


def score(losses: Sequence[float], steps: int) -> float:
    """Mean loss over the last part of a branch; infinite where a loss was no number.

    >>> score([9.0, 9.0, 9.0, 9.0, 1.0, 3.0], 6), score([1.0, math.nan], 6)
    (2.0, inf)
    """
    if not all(map(math.isfinite, losses)):
        return math.inf
    last = losses[-max(1, round(SCORED * steps)) :]
    return sum(last) / len(last)


def winner(branches: Sequence[Branch]) -> Branch:
    """The branch with the lowest score; of equal ones the first that was tried.

    >>> winner([Branch(0.1, 0.5), Branch(0.3, 0.4)]).rate
    0.3
    """
    return min(branches, key=lambda branch: branch.loss)


def between(suggested: float, branches: Sequence[Branch]) -> float:
    """The rate to keep: halfway, on a logarithmic scale, from the sweep's suggestion to the best branch.

    The two err in opposite directions. A tenth of the edge is on the safe side; a few dozen steps reward speed, and
    the rate that falls fastest from scratch is too high for the whole run. See docs/decisions/0006-tournament.md.

    >>> round(between(0.1, [Branch(0.1, 0.5), Branch(0.3, 0.4), Branch(0.9, 0.3)]), 3)
    0.3
    """
    return math.sqrt(suggested * winner(branches).rate)
