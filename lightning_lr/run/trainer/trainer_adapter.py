"""What is read from a Trainer: its private attributes, its state at a check, and how many steps it will run.

This file alone touches a private attribute of Lightning. Each has a function of its own, which names the versions whose
source was read. A time limit in steps: ``time_budget``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

# --- private attributes -----------------------------------------------------------------------------------------------


def batches_that_stepped(trainer: Any) -> int:
    """Batches after which the optimizers stepped: the x-axis of Lightning's own logs.

    ``global_step`` counts each optimizer's step in manual optimization; curves of one run would then not line up.
    ``_TrainingEpochLoop._batches_that_stepped``, read in 2.5.0 and 2.6.6.
    """
    return int(getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", trainer.global_step))


def can_stop_early(trainer: Any) -> bool:
    """Whether ``min_epochs`` and ``min_steps`` are reached. ``_FitLoop._can_stop_early``, read in 2.5.0 and 2.6.6."""
    return bool(trainer.fit_loop._can_stop_early)


def logged_once_an_epoch(trainer: Any) -> frozenset[str]:
    """What ``training_step`` logs with ``on_epoch``: the first validation within an epoch precedes its first value.

    ``_TrainingEpochLoop._results``, read in 2.5.0 and 2.6.6.
    """
    results = getattr(trainer.fit_loop.epoch_loop, "_results", None) or {}
    logged = {result.meta.name for result in results.values() if result.meta.on_epoch}
    return frozenset(logged | {f"{name}_epoch" for name in logged})


def stops_at_epoch_end(timer: Any) -> bool:
    """Whether a Timer ends the run at the end of an epoch only. ``Timer._interval``, read in 2.5.0 and 2.6.6."""
    return str(getattr(timer, "_interval", "step")).endswith("epoch")


def plain_optimizer(optimizer: Any) -> Any:
    """The optimizer inside a LightningOptimizer. ``LightningOptimizer._optimizer``, read in 2.5.0 and 2.6.6."""
    return getattr(optimizer, "_optimizer", optimizer)


def is_compiled(module: Any) -> bool:
    """Whether ``torch.compile`` has the module, its step, or a part of it.

    ``LightningModule._compiler_ctx``, read in 2.5.0 and 2.6.6.
    """
    whole = getattr(module, "_compiler_ctx", None) is not None or hasattr(
        module.training_step, "_torchdynamo_orig_callable"
    )
    return whole or any(
        type(part).__name__ == "OptimizedModule" or getattr(part, "_compiled_call_impl", None) is not None
        for part in module.modules()
    )


def moved_batch(trainer: Any, batch: Any) -> Any:
    """A batch of a loader as the steps receive it: converted, transferred, and seen by the module's own hooks.

    ``LightningModule._on_before_batch_transfer`` and its caller ``_EvaluationLoop``, read in 2.5.0 and 2.6.6.
    """
    batch = trainer.precision_plugin.convert_input(batch)
    batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=0)
    return trainer.strategy.batch_to_device(batch, dataloader_idx=0)


# --- a check ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainerState:
    """When a check happens, and what the Trainer has logged by then.

    Attributes:
        epoch: epoch that the values belong to, from 0.
        step: position on the loggers' x-axis that the metrics of this check have.
        logged: ``trainer.callback_metrics``.
        validates: whether a validation runs in this fit that may log something.
        coming: metrics that are logged, and have their value at the end of the epoch.
    """

    epoch: int
    step: int
    logged: Mapping[str, Any]
    validates: bool
    coming: Collection[str] = ()

    @classmethod
    def of(cls, trainer: Any, epoch_over: bool) -> TrainerState:
        """Now. At the end of an epoch the metrics are logged one step back, as Lightning's own are.

        Args:
            trainer: in a hook of ``fit``.
            epoch_over: whether the training epoch has ended.
        """
        steps = batches_that_stepped(trainer)
        return cls(
            epoch=trainer.current_epoch,
            step=max(0, steps - 1) if epoch_over else steps,
            logged=trainer.callback_metrics,
            validates=may_validate(trainer),
            coming=logged_once_an_epoch(trainer),
        )


def may_validate(trainer: Any) -> bool:
    """Whether a validation may log something; with ``barebones`` nothing can be logged."""
    return bool(trainer.enable_validation and not trainer.barebones)


def checks_at_epoch_end(trainer: Any) -> bool:
    """Whether a check is made at the end of each training epoch, not after each validation.

    If validation runs once an epoch, its values and the epoch's training loss belong together.
    """
    once = trainer.val_check_interval == 1.0 and trainer.check_val_every_n_epoch == 1
    return bool(once or not trainer.enable_validation)


def pauses_after(trainer: Any, batch_idx: int) -> bool:
    """Whether an epoch ends after this batch, or a validation by number of batches comes before the next one."""
    every = trainer.val_check_batch
    if trainer.is_last_batch or not trainer.enable_validation or every is None or math.isinf(every):
        return bool(trainer.is_last_batch)
    batches = trainer.fit_loop.epoch_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    return bool((batches + 1) % every == 0)


# --- budget -----------------------------------------------------------------------------------------------------------


def budget_of(trainer: Any, steps: int = 0) -> int | None:
    """Optimizer steps of the whole run, by ``max_epochs`` and ``max_steps``; ``None`` if neither limits it.

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
