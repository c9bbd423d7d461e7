"""What becomes of a run after its rate was searched: the losses of its steps, and the monitor at its checks.

Both are compared with what was measured before training. A run that is *wrecked* is restored to its start and goes on
at a quarter of the rate. A rate that was *moved* has to be confirmed by the monitor: the training loss, by which it was
found, is no measure of quality where a policy is learned by trial and error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from lightning_lr.engine.lr_search.finder import KEEP
from lightning_lr.engine.records import SearchResult
from lightning_lr.engine.vocabulary import Verdict

WRECKED, IN_A_ROW = 20.0, 3
"""Training is wrecked if three losses in a row are not finite, or lie above the loss before training by 20 times the
gain of the best first update, or the spread between batches (the larger of the two). Narrower limits (the median of
eight above 2 gains and 3 spreads) took the plateau of a deep plain network, and outliers of a heavy-tailed loss, for
wrecks; what is less than wrecked is seen at the checks."""

CUT, TRIES = 0.25, 4
"""What the rate is multiplied by when the start is restored, and how often that is done."""

UNCONFIRMED = 100.0
"""A move by more than this factor is made only if a monitor can confirm it."""

ERRORS = 2.0
"""Standard errors, over the checks so far, by which the mean of the monitor must lie below its value before training
for a moved rate to be confirmed, and above it to be taken back. One standard error and the first check alone took a
plateau of a deep plain network, and a lucky check, for an answer."""

ABOVE = 1.0
"""A monitor that lies above its value before training by as much as that value takes the rate back at once."""

ENOUGH = 3
"""Checks that such a mean needs; before them there is no answer."""

PATIENCE, LAST = 0.2, 0.4
"""Shares of the budget. From the first on a moved rate is taken back as well if the monitor is no better than before
training; from the second on if it is not clearly better."""


@dataclass
class StepGuard:
    """Watches the losses of the steps.

    >>> guard = StepGuard(limit=2.0)
    >>> [guard.is_wrecked(loss) for loss in (2.1, 1.9, 40.0, math.nan, 60.0, 70.0)]
    [False, False, False, False, True, False]

    Attributes:
        limit: the loss above which a step is bad.
        bad: bad steps in a row.
    """

    limit: float
    bad: int = 0

    @classmethod
    def of(cls, result: SearchResult) -> StepGuard:
        """With the limit that the readings of a search give."""
        return cls(result.before + WRECKED * max(result.gain, result.spread))

    def is_wrecked(self, loss: float) -> bool:
        """Whether the start has to be restored; counts anew after that."""
        self.bad = 0 if loss <= self.limit else self.bad + 1
        if self.bad < IN_A_ROW:
            return False
        self.bad = 0
        return True


@dataclass
class Confirmation:
    """Whether the monitor confirms a rate that was moved; plain numbers, saved whole.

    Attributes:
        untrained: the monitor's value before training, oriented.
        differences: at each check so far, the oriented value minus that one.
    """

    untrained: float
    differences: list[float] = field(default_factory=list)

    def look(self, value: float, progress: float | None) -> Verdict:
        """Yes: confirmed. No: the start and the user's rate have to be restored.

        Args:
            value: of the monitor, oriented; one that is not finite says nothing.
            progress: share of the budget that is used; ``None`` if that is unknown.

        >>> waits = Confirmation(untrained=2.0)
        >>> [str(waits.look(value, 0.05)) for value in (1.9, 1.6, 1.4)]
        ['undecided', 'undecided', 'yes']
        >>> worse = Confirmation(untrained=2.0)
        >>> [str(worse.look(value, share)) for value, share in ((2.1, 0.1), (2.3, 0.2))]
        ['undecided', 'no']
        """
        if math.isfinite(value):
            self.differences.append(value - self.untrained)
            if value - self.untrained > ABOVE * abs(self.untrained):
                return Verdict.NO
        mean, error = mean_and_error(self.differences)
        share, count = 0.0 if progress is None else progress, len(self.differences)
        if count >= ENOUGH and abs(mean) > error:
            return Verdict.YES if mean < 0 else Verdict.NO
        if count and share >= LAST:
            return Verdict.YES if count < ENOUGH and mean < 0 else Verdict.NO
        return Verdict.NO if count and share >= PATIENCE and not mean < 0 else Verdict.UNDECIDED


def mean_and_error(differences: Sequence[float]) -> tuple[float, float]:
    """The mean, and :data:`ERRORS` standard errors of it; 0 for a single one.

    >>> mean_and_error([]), mean_and_error([-0.5])
    ((0.0, 0.0), (-0.5, 0.0))
    """
    if not differences:
        return 0.0, 0.0
    error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    return fmean(differences), ERRORS * error


def was_moved(factor: float) -> bool:
    """Whether a rate was moved so far that the monitor has to confirm it.

    >>> was_moved(1.0), was_moved(0.1), was_moved(2.0)
    (False, True, False)
    """
    return not 1 / KEEP <= factor <= KEEP
