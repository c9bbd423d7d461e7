"""How the first steps of a run are spent on finding its learning rate: losses in, rate out.

First a :mod:`~lightning_lr.engine.lr_search.range_test` of ordinary training steps: each uses a slightly higher rate,
until the loss has clearly exploded or the range is through. The range is absolute, so where the run would have started
does not matter. If the budget allows, :mod:`~lightning_lr.engine.lr_search.trials` around the suggested rate come
next. Then weights and optimizer state come back from a snapshot, and the run goes on with the rate that was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightning_lr.engine.lr_search.range_test import Sweep
from lightning_lr.engine.lr_search.trials import BRANCHES, branch_steps

STEPS = 100
"""Steps of a full sweep: 14 a decade. Fewer blur the edge, more cost without moving it."""

SHARE = 8
"""A sweep takes at most the 8th part of the budget; see docs/decisions/0004-exploration.md."""

FEWEST = 20
"""Below that many steps a sweep would jump by a factor of 2.2 a step: the loss cannot follow; better none."""


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
