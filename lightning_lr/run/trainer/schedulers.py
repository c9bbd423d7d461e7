"""The schedulers of a Trainer: those that change a learning rate in this run, and those that cannot."""

from __future__ import annotations

import math
from typing import Any

from lightning_lr.optim.scheduler_future import changes_rates
from lightning_lr.run.trainer.trainer_adapter import batches_that_stepped, steps_an_epoch


def schedulers_of(trainer: Any, budget: int | None) -> tuple[list[str], list[str]]:
    """The names of those that change a learning rate before the run ends, and of those that do not.

    Args:
        trainer: at ``on_train_start``.
        budget: optimizer steps of the whole run; ``None`` if that is unknown: then each may.
    """
    moving: list[str] = []
    dormant: list[str] = []
    for config in trainer.lr_scheduler_configs:
        changes = changes_rates(config.scheduler, _steps_ahead(trainer, config, budget))
        (moving if changes else dormant).append(type(config.scheduler).__name__)
    return moving, dormant


def _steps_ahead(trainer: Any, config: Any, budget: int | None) -> float:
    """Steps of the scheduler up to the end of the run, at most."""
    if budget is None:
        return math.inf
    steps = float(max(0, budget - batches_that_stepped(trainer)))
    # With manual optimization the module steps its schedulers when it likes.
    if config.interval == "epoch" and trainer.lightning_module.automatic_optimization:
        steps = math.ceil(steps / max(1.0, steps_an_epoch(trainer)))
    return steps // max(1, int(config.frequency))
