"""When a check happens, in the Trainer's own counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_lr.run.trainer.trainer_adapter import steps_taken


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
        steps = steps_taken(trainer)
        return cls(
            epoch=trainer.current_epoch,
            step=max(0, steps - 1) if epoch_over else steps,
            logged=trainer.callback_metrics,
            validates=may_validate(trainer),
            coming=_coming(trainer),
        )


def may_validate(trainer: Any) -> bool:
    """Whether a validation may log something; with ``barebones`` nothing can be logged."""
    return bool(trainer.enable_validation and not trainer.barebones)


def _coming(trainer: Any) -> frozenset[str]:
    """What `training_step` logs once an epoch: the first validation within an epoch comes before its first value."""
    results = getattr(trainer.fit_loop.epoch_loop, "_results", None) or {}
    logged = {result.meta.name for result in results.values() if result.meta.on_epoch}
    return frozenset(logged | {f"{name}_epoch" for name in logged})
