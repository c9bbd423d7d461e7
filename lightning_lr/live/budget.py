"""How many steps a run has, as the Trainer knows it."""

from __future__ import annotations

import math
from typing import Any


def budget_of(trainer: Any) -> int | None:
    """Optimizer steps of the whole run; ``None`` where neither ``max_epochs`` nor ``max_steps`` tells.

    A time limit may end the run earlier, so it makes the budget unknown.
    """
    if any(type(callback).__name__ == "Timer" for callback in trainer.callbacks):
        return None
    steps = trainer.estimated_stepping_batches
    return int(steps) if math.isfinite(steps) and steps > 0 else None


def steps_taken(trainer: Any) -> int:
    """Batches after which the optimizers stepped: the loggers' x-axis.

    It is private, but ``global_step`` counts every optimizer in manual optimization, and curves of one run would not
    lie above each other.
    """
    return int(getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", trainer.global_step))
