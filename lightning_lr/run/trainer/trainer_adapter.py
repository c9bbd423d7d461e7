"""What is read from a Trainer: its private attributes, its state at a check, and its limits.

This file alone touches a private attribute of Lightning. Each has a function of its own, which names the versions whose
source was read. How many steps the limits allow: ``step_budget``, and ``time_budget`` if a time limits the run.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterable, Mapping
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


def seconds_between_validations(trainer: Any) -> float | None:
    """The interval of validations by the clock; ``None`` where batches are counted.

    ``Trainer._val_check_time_interval``, read in 2.6.6; 2.5.0 counts batches only.
    """
    seconds = getattr(trainer, "_val_check_time_interval", None)
    return None if seconds is None else float(seconds)


def is_finished(trainer: Any) -> bool:
    """Whether a run that ends has come to a limit of the Trainer's, or EarlyStopping or a Timer has ended it.

    A run that anything else has stopped (``trainer.should_stop``) may go on some day.
    """
    ended = (
        getattr(callback, "stopped_epoch", 0) > 0 or (_is_timer(callback) and (callback.time_remaining() or 1) <= 0)
        for callback in trainer.callbacks
    )
    return not trainer.should_stop or any(ended)


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
        epoch_over: whether a training epoch has ended.
        coming: metrics that are logged, and have their value at the end of the epoch.
    """

    epoch: int
    step: int
    logged: Mapping[str, Any]
    epoch_over: bool
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
            epoch_over=epoch_over,
            coming=logged_once_an_epoch(trainer),
        )


def may_validate(trainer: Any) -> bool:
    """Whether a validation may log something; with ``barebones`` nothing can be logged."""
    return validation_comes(trainer) and not trainer.barebones


def validation_comes(trainer: Any) -> bool:
    """Whether a validation will run before the fit ends, by the Trainer's limits; asked at its start.

    Validation may have a loader and an interval that is longer than the run: some libraries switch it off with
    ``check_val_every_n_epoch=sys.maxsize``.
    """
    if not trainer.enable_validation:
        return False
    seconds, every = seconds_between_validations(trainer), trainer.check_val_every_n_epoch
    if seconds is not None and any(float(timer.time_remaining()) < seconds for timer in timers_of(trainer)):
        return False
    epochs = math.inf if trainer.max_epochs is None or trainer.max_epochs < 0 else trainer.max_epochs
    limit = trainer.max_steps * float(trainer.accumulate_grad_batches)  # in batches
    if limit < 0 or not trainer.lightning_module.automatic_optimization:
        limit = math.inf
    an_epoch = float(trainer.num_training_batches)
    within = 1.0 if seconds is not None else float(trainer.val_check_batch)
    if every is None:
        done = int(trainer.fit_loop.epoch_loop.total_batch_idx) + 1
        return bool((done // within + 1) * within <= min(limit, epochs * an_epoch))
    epoch = (trainer.current_epoch // every + 1) * every  # the next one that validates, from 1
    before = (epoch - 1) * an_epoch if epoch > 1 else 0.0
    batch = before + min(within, an_epoch)
    return bool(epoch <= epochs and (batch <= limit or math.isinf(batch)))


def checks_at_epoch_end(trainer: Any) -> bool:
    """Whether a check is made at the end of each training epoch, not after each validation.

    If validation runs once an epoch, its values and the epoch's training loss belong together.
    """
    # By the clock, the Trainer has no `val_check_interval` at all (2.6.6).
    once = getattr(trainer, "val_check_interval", None) == 1.0 and trainer.check_val_every_n_epoch == 1
    return bool(once or not validation_comes(trainer))


def logs_at_epoch_end(module: Any) -> bool:
    """Whether a module has an ``on_train_epoch_end`` of its own: it runs after that of the callbacks, and may log."""
    hook = getattr(module, "on_train_epoch_end", None)
    return hook is not None and getattr(hook, "__qualname__", "") != "ModelHooks.on_train_epoch_end"


def knows_sanity_check(things: Iterable[Any]) -> bool:
    """Whether code of one of these objects, other than Lightning's, names the sanity check: it may log less then."""
    for base in {base for thing in things for base in type(thing).__mro__}:
        if not base.__module__.startswith(("lightning.", "pytorch_lightning.", "lightning_lr.", "torch.")):
            codes = [getattr(inspect.unwrap(f), "__code__", None) for f in vars(base).values() if callable(f)]
            while codes:
                code = codes.pop()
                if code is not None:
                    if any("sanity" in name.lower() for name in code.co_names):
                        return True
                    codes += [part for part in code.co_consts if inspect.iscode(part)]
    return False


def pauses_after(trainer: Any, batch_idx: int) -> bool:
    """Whether an epoch ends after this batch, or a validation by number of batches comes before the next one."""
    every = getattr(trainer, "val_check_batch", None)  # none by the clock
    if trainer.is_last_batch or not trainer.enable_validation or every is None or math.isinf(every):
        return bool(trainer.is_last_batch)
    batches = trainer.fit_loop.epoch_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    return bool((batches + 1) % every == 0)


# --- limits -----------------------------------------------------------------------------------------------------------


def batches_done(trainer: Any) -> int:
    """Training batches of this epoch that are done; before its first batch still those of the epoch before.

    ``_TrainingEpochLoop.batch_progress``, read in 2.5.0 and 2.6.6.
    """
    return int(trainer.fit_loop.epoch_loop.batch_progress.current.processed)


def is_last_batch(trainer: Any) -> bool:
    """At the end of an epoch: whether its data are used up, or the module has skipped what was left of them.

    ``_TrainingEpochLoop.batch_progress``, read in 2.5.0 and 2.6.6. Before 2.6 it does not know of skipped batches: then
    nothing else has ended the epoch.
    """
    stopped = trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step
    return bool(trainer.fit_loop.epoch_loop.batch_progress.is_last_batch) or not stopped


def batches_of_a_step(trainer: Any) -> list[int | None]:
    """What decides how many steps the same data are: ranks, accumulated batches, and the batch size of each loader.

    ``_FitLoop._combined_loader``, read in 2.5.0 and 2.6.6.
    """
    loaders = getattr(trainer.fit_loop._combined_loader, "flattened", None) or ()
    sizes = [getattr(loader, "batch_size", None) for loader in loaders]
    varies = any(hasattr(callback, "get_accumulate_grad_batches") for callback in trainer.callbacks)
    batches = None if varies else int(trainer.accumulate_grad_batches)
    return [int(trainer.world_size), batches, *(size if isinstance(size, int) else None for size in sizes)]


def limited_by_epochs(trainer: Any) -> bool:
    """Whether the run ends after a number of epochs."""
    return trainer.max_epochs is not None and trainer.max_epochs >= 0


def steps_an_epoch(trainer: Any, epoch: int | None = None) -> float:
    """Optimizer steps of one epoch under automatic optimization; infinite where its data has no length."""
    batches = float(trainer.num_training_batches)
    return batches if math.isinf(batches) else math.ceil(batches / accumulated(trainer, epoch))


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


def accumulated(trainer: Any, epoch: int | None) -> int:
    """Batches whose gradients are accumulated; GradientAccumulationScheduler has a number for each epoch."""
    for callback in trainer.callbacks if epoch is not None else ():
        if hasattr(callback, "get_accumulate_grad_batches"):
            return int(callback.get_accumulate_grad_batches(epoch))
    return int(trainer.accumulate_grad_batches)
