"""How many steps a run has by the Trainer's limits in epochs and steps (a time limit: ``time_budget``)."""

from __future__ import annotations

import math
from typing import Any


def budget_of(trainer: Any, steps: int = 0) -> int | None:
    """Optimizer steps of the whole run, by ``max_epochs`` and ``max_steps``; ``None`` where neither tells.

    A step is a batch after which the optimizers stepped. In manual optimization ``max_steps`` counts each optimizer's
    step, and the module may step as seldom as it likes: how often is known from the steps that were taken.

    Args:
        trainer: at ``on_train_start`` or later.
        steps: steps that were taken so far.
    """
    limits = [_by_epochs(trainer, steps), _by_steps(trainer, steps)]
    known = [limit for limit in limits if limit is not None and math.isfinite(limit) and limit > 0]
    return math.ceil(min(known)) if known else None


def steps_an_epoch(trainer: Any, epoch: int | None = None) -> float:
    """Optimizer steps of one epoch under automatic optimization; infinite where its data has no length."""
    batches = float(trainer.num_training_batches)
    return batches if math.isinf(batches) else math.ceil(batches / _accumulated(trainer, epoch))


def steps_between_validations(trainer: Any) -> float:
    """Optimizer steps from one check to the next, where checks are made at validations or the ends of epochs."""
    epoch, batches = steps_an_epoch(trainer), trainer.val_check_batch
    if not trainer.enable_validation:
        return epoch
    if batches is None:  # validation by the clock
        return math.inf
    every = batches if math.isinf(batches) else batches / int(trainer.accumulate_grad_batches)
    epochs = trainer.check_val_every_n_epoch
    if epochs is None:
        return float(every)
    return float(max(every, (epochs - 1) * epoch) if every < epoch else epochs * epoch)


def steps_taken(trainer: Any) -> int:
    """Batches after which the optimizers stepped: the loggers' x-axis.

    It is private, but ``global_step`` counts every optimizer in manual optimization, and curves of one run would not
    lie above each other.
    """
    return int(getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", trainer.global_step))


def step_count(trainer: Any) -> Any:
    """What holds ``trainer.global_step``, as ``completed``: the Trainer itself asks six properties for it.

    To be looked up anew now and then, since a module may change to manual optimization.
    """
    loop = trainer.fit_loop.epoch_loop
    try:
        if trainer.lightning_module.automatic_optimization:
            return loop.automatic_optimization.optim_progress.optimizer.step.total
        return loop.manual_optimization.optim_step_progress.total
    except AttributeError:  # a loop of the user's own, or of another Lightning
        return _GlobalStep(trainer)


class _GlobalStep:
    """``trainer.global_step`` itself."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    @property
    def completed(self) -> int:
        """As the Trainer counts."""
        return int(self._trainer.global_step)


def timers_of(trainer: Any) -> list[Any]:
    """The callbacks that end the run after a time; the Trainer makes one of ``max_time``."""
    return [callback for callback in trainer.callbacks if _is_timer(callback) and callback.time_remaining() is not None]


def _is_timer(callback: Any) -> bool:
    # By name: there is one in `lightning.pytorch` and another in `pytorch_lightning`.
    return any(base.__name__ == "Timer" for base in type(callback).__mro__)


def _by_epochs(trainer: Any, steps: int) -> float | None:
    epochs = trainer.max_epochs
    if epochs is None or epochs < 0:
        return None
    changing = any(hasattr(callback, "get_accumulate_grad_batches") for callback in trainer.callbacks)
    alike = 1 if changing else max(1, epochs)
    total = alike * sum(steps_an_epoch(trainer, epoch) for epoch in range(epochs if changing else 1))
    if trainer.lightning_module.automatic_optimization:
        return total
    batches = int(trainer.fit_loop.epoch_loop.total_batch_idx) + 1
    return total * steps / batches if steps and batches > 0 else total


def _by_steps(trainer: Any, steps: int) -> float | None:
    limit = trainer.max_steps
    if limit is None or limit < 0:
        return None
    limit = float(limit)
    if trainer.lightning_module.automatic_optimization:
        return limit
    counted = int(trainer.global_step)
    # Before the first step the best guess is that each optimizer takes one.
    return limit * steps / counted if steps and counted else limit / max(1, len(trainer.optimizers))


def _accumulated(trainer: Any, epoch: int | None) -> int:
    """Batches whose gradients are accumulated; GradientAccumulationScheduler has a number for each epoch."""
    for callback in trainer.callbacks if epoch is not None else ():
        if hasattr(callback, "get_accumulate_grad_batches"):
            return int(callback.get_accumulate_grad_batches(epoch))
    return int(trainer.accumulate_grad_batches)
