"""The plain recipes that people know, decided and explained like everything else.

Both look at the clock of epochs first and at the metrics second; neither reacts to a condition of the run.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from lightning_lr.engine.policies.policy import Policy
from lightning_lr.engine.records import Diagnosis, MetricView, MetricViews, Reading
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Condition

WELL = 0.01
"""Relative improvement of the best above which a period performs well: 1 %, ten times the default ``rel_delta``."""


@dataclass
class RecipeState:
    """Where a recipe stands; plain values, saved whole.

    Attributes:
        since_epoch: first epoch of the running period.
        best_before: oriented best when the period began; ``None`` in the first period.
        well: how many periods in a row have performed well.
        learned: whether the run has converged once (exponential).
    """

    since_epoch: int = 0
    best_before: float | None = None
    well: int = 0
    learned: bool = False


class Recipe:
    """What both recipes share: a period of epochs, and the memory of the last one.

    Args:
        policy: epochs and ratio.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.state = RecipeState()

    def propose(self, reading: Reading, views: MetricViews, diagnosis: Diagnosis) -> tuple[float, str]:
        """The factor at this check, 1.0 to hold, and the sentence why."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Where the recipe stands, as plain values."""
        return asdict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.state = RecipeState(**state)

    def _epochs_left(self, reading: Reading) -> int:
        return self.state.since_epoch + self.policy.epochs - (reading.epoch + 1)


class Halving(Recipe):
    """Halve every N epochs until a range of rates performs well.

    A period of N epochs performs well where it improved the best by more than 1 %. Two periods in a row that perform
    well, at a rate and at half of it, are a range: the rate can be raised or lowered by two without harm. From then
    on it is held, until a period no longer performs well. A period without a finite value does not perform well.
    """

    def propose(self, reading: Reading, views: MetricViews, diagnosis: Diagnosis) -> tuple[float, str]:
        """Halve at the end of a period, or hold a range that performs well."""
        epochs, monitor = self.policy.epochs, views.monitors[0]
        left = self._epochs_left(reading)
        if left > 0:
            return 1.0, f"this learning rate is tried for {left} more epoch{plural(left)}"
        performed, before = self._performed_well(monitor), self.state.well
        self.state.well = before + 1 if performed else 0
        # None, not NaN, where no value was finite yet: the next period is then measured from the run's first value.
        self.state.best_before = monitor.best if math.isfinite(monitor.best) else None
        self.state.since_epoch = reading.epoch + 1
        tried = f"{epochs} epoch{plural(epochs)} at this learning rate"
        if self.state.well >= 2:
            return 1.0, f"{tried} performed well, as did the period before: a range is found"
        if performed:
            return self.policy.ratio, f"{tried} performed well, no range is found yet"
        what = "the range is left" if before >= 2 else "no range is found yet"
        return self.policy.ratio, f"{tried} improved the best by no more than {100 * WELL:g} %, {what}"

    def _performed_well(self, monitor: MetricView) -> bool:
        before = self.state.best_before if self.state.best_before is not None else monitor.first
        return monitor.best < before - WELL * abs(before)


class Exponential(Recipe):
    """Decay by a fixed ratio every N epochs, and by its square root once the run has converged.

    Converged means that a plateau was diagnosed; from then on small steps are enough.
    """

    def propose(self, reading: Reading, views: MetricViews, diagnosis: Diagnosis) -> tuple[float, str]:
        """Decay at the end of each period."""
        self.state.learned = self.state.learned or diagnosis.condition is Condition.PLATEAU
        left = self._epochs_left(reading)
        if left > 0:
            return 1.0, f"the next decay comes in {left} epoch{plural(left)}"
        self.state.since_epoch = reading.epoch + 1
        if self.state.learned:
            return self.policy.ratio**0.5, "exponential decay, slower since the run has converged"
        return self.policy.ratio, "exponential decay"


def recipe_of(policy: Policy) -> Recipe | None:
    """The recipe that a policy names, if it names one."""
    recipes = {"halving": Halving, "exponential": Exponential}
    return recipes[policy.recipe](policy) if policy.recipe else None
