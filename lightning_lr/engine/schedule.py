"""The curve over a known budget: a short warm-up, a hold, and a linear end at zero."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

ANNEAL_SHARE = 0.3
"""The last 30 % of the budget are annealed, linearly to zero. Half of it was 1 to 2 % worse up to 450 steps and equal
at 1,000; the best tuned peer anneals the same share (docs/decisions/0014-first-update.md)."""

WARMUP = 0.02
"""Share of the budget over which a rate that the search has moved rises; one that stays as it was given does not."""

STAIR = 1000
"""While it falls, the rate goes down a stair each time it would have lost a thousandth of itself. No curve shows it,
and a long end costs next to nothing. Of the last 2000 steps each has a stair; see docs/decisions/0013-stairs.md."""

EARLY = 0.5
"""Steps of an end that begins early, because EarlyStopping has run out of patience, as a share of those before it; see
docs/decisions/0007-early-stopping.md."""

OPEN = 1.0
"""Steps of the end that a plateau begins where the budget is unknown, as a share of those before it: the plateau says
that half of the run is over. Half as long was up to 9 % worse; see docs/decisions/0011-unknown-budget.md."""

NEVER = 2**50
"""The end of a curve whose end is not known, or that is not to fall: it is level."""


@dataclass(frozen=True)
class AnnealCurve:
    """The learning rate over a budget, as a multiple of its level.

    Attributes:
        first: optimizer step at which the curve begins.
        budget: optimizer step at which the run ends.
        share: part of the budget that is annealed.
        warmup: part of the budget over which the rate rises at the start.
        bend: step at which the end was moved while the rate fell (a time limit is a budget that is estimated anew at
            each check), and the multiple there: from it the rate falls linearly to zero at the new end.

    >>> curve = AnnealCurve(first=0, budget=100)
    >>> [round(curve.at(step), 2) for step in (0, 1, 2, 50, 75, 99)]
    [0.5, 1.0, 1.0, 1.0, 0.83, 0.03]
    """

    first: int
    budget: int
    share: float = ANNEAL_SHARE
    warmup: float = WARMUP
    bend: tuple[int, float] | None = None

    @cached_property
    def anneals_from(self) -> float:
        """Optimizer step from which on the rate falls."""
        return self.budget - self.share * (self.budget - self.first)

    @cached_property
    def rise(self) -> float:
        """Steps over which the rate rises."""
        return max(1.0, self.warmup * (self.budget - self.first))

    def at(self, step: int) -> float:
        """The multiple of the level at one optimizer step, above 0 as long as the budget lasts."""
        return self._with_left(step, stair(self.budget - step))

    def has_risen(self, step: int) -> bool:
        """Whether the warm-up is over."""
        return self.first + self.rise <= step + 1

    def _with_left(self, step: int, left: int) -> float:
        if step <= self.anneals_from and self.bend is None:
            return 1.0 if self.has_risen(step) else (step - self.first + 1) / self.rise
        return min(self._fall(left), (step - self.first + 1) / self.rise)

    def _fall(self, left: int) -> float:
        """The multiple without the warm-up."""
        start, top = self.bend or (self.anneals_from, 1.0)
        if self.budget == NEVER:
            return top
        length = self.budget - start
        # A run that goes on beyond its budget keeps the last step's rate: zero would be a stop that nobody decided.
        return min(1.0, top * (left if left > 1 else 1.0) / (length if length > 1 else 1.0))

    def moved_to(self, budget: int, step: int) -> AnnealCurve:
        """The curve with another end: as if it had always been there while the rate is held, bent where it falls.

        >>> curve = AnnealCurve(first=0, budget=100).moved_to(200, step=40)
        >>> curve.anneals_from, curve.moved_to(300, step=170).at(235)
        (140.0, 0.25)
        """
        # The warm-up is as long as it was: a rate that rises must not jump because the end was moved.
        moved = replace(self, budget=budget, warmup=self.rise / max(1, budget - self.first))
        if step < min(self.anneals_from, moved.anneals_from) and self.bend is None:
            return moved
        return replace(moved, bend=self._bent_at(step))

    def ending(self, budget: int, step: int) -> AnnealCurve:
        """The curve that from this step on falls linearly to zero at another end.

        >>> curve = AnnealCurve(first=0, budget=100).ending(60, step=40)
        >>> curve.at(39), curve.at(50), curve.at(59)
        (1.0, 0.5, 0.05)
        """
        return replace(self, budget=budget, bend=self._bent_at(step))

    def _bent_at(self, step: int) -> tuple[int, float]:
        """On the line, not on the stair below it: else each of many moves would lose a little, and all of them much."""
        return step, self._fall(self.budget - step)


def stair(left: int) -> int:
    """The steps that are left, as few as they will be on this stair: the line itself is never exceeded.

    Stairs lie on a grid of powers of two, so that a run that is resumed stands on the same one.

    >>> [stair(left) for left in (1, 1999, 2000, 2001, 100_000, 100_063, 100_064)]
    [1, 1999, 2000, 2000, 99968, 100032, 100032]
    """
    if left < 2 * STAIR:
        return left
    return left - left % (1 << (left // STAIR).bit_length() - 1)


def early_end(steps: int, budget: int | None, check: float) -> int:
    """The step at which a run ends that begins its end now; a whole number of checks away, and never beyond the budget.

    Args:
        steps: optimizer steps so far.
        budget: those of the whole run; ``None`` where that is unknown.
        check: steps from one check to the next; infinite where that is unknown.

    >>> early_end(100, None, 40), early_end(100, 160, 40), early_end(100, 1000, math.inf)
    (180, 160, 150)
    """
    end = steps + _whole(EARLY * steps, check)
    return end if budget is None else max(min(end, budget), steps + 1)


def open_end(steps: int, check: float) -> int:
    """The same for a run whose budget is unknown, and which ends since it is on a plateau.

    >>> open_end(100, 40), open_end(100, math.inf)
    (220, 200)
    """
    return steps + _whole(OPEN * steps, check)


def _whole(length: float, check: float) -> int:
    """A length in steps, and what is missing to a whole number of checks."""
    length = max(1.0, length)
    return math.ceil(math.ceil(length / check) * check if math.isfinite(check) and check > 0 else length)
