"""What is done to the other callbacks of a Trainer: EarlyStopping waits.

**EarlyStopping** ends a run whose learning rate is still high: most of the gain of an annealed end would be lost. When
its patience is used up, the learning rate is annealed first; at the end of that the run stops, as it wanted. All other
reasons for which it stops (a value that is not finite, a threshold) are left alone. Its patience begins anew if a
snapshot is restored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightning_lr.run.defer_signals import defer_signals
from lightning_lr.run.patches import patch, patched_with
from lightning_lr.run.trainer.callback_kinds import stops_early
from lightning_lr.run.trainer.trainer_adapter import TrainerState, can_stop_early

if TYPE_CHECKING:
    from lightning_lr.run.fit_run import FitRun

STOPPING_HOOKS = {"on_train_epoch_end": True, "on_validation_end": False}
"""Hook in which EarlyStopping may stop the run → whether an epoch is over then."""

# --- EarlyStopping ----------------------------------------------------------------------------------------------------


def anneal_before_stopping(fit_run: FitRun, trainer: Any) -> None:
    """Until the end of the fit, anneal the learning rate before an EarlyStopping of this Trainer stops the run."""
    for callback in filter(stops_early, trainer.callbacks):
        for hook, epoch_over in STOPPING_HOOKS.items():
            waiting = patched_with(callback, hook, _AnnealFirst)  # of another controller
            if waiting is None:
                waiting = _AnnealFirst(callback, getattr(callback, hook), epoch_over)
                patch(callback, hook, waiting, fit_run.undo)
            waiting.fit_runs.append(fit_run)


@dataclass
class _AnnealFirst:
    """In place of one hook of one EarlyStopping.

    Attributes:
        callback: the EarlyStopping.
        inner: its hook.
        epoch_over: whether an epoch is over then.
        fit_runs: those that anneal; one for each controller of the Trainer.
    """

    callback: Any
    inner: Callable[..., None]
    epoch_over: bool
    fit_runs: list[FitRun] = field(default_factory=list)

    def __call__(self, trainer: Any, module: Any) -> None:
        callback, stopped, before = self.callback, trainer.should_stop, self.callback.stopped_epoch
        self.inner(trainer, module)
        if stopped:
            return
        if all(fit_run.lr_schedule.ended_early for fit_run in self.fit_runs):
            callback.stopped_epoch, trainer.should_stop = trainer.current_epoch, True
        elif trainer.should_stop and self._out_of_patience():
            trainer.should_stop, callback.stopped_epoch = False, before
            if can_stop_early(trainer):
                callback.wait_count = 0
                self._anneal(TrainerState.of(trainer, self.epoch_over))

    def _out_of_patience(self) -> bool:
        """Whether that is why it stops, on any rank; all ranks stop together, so all of them ask."""
        return self.fit_runs[0].ranks.sum([float(self.callback.wait_count >= self.callback.patience)])[0] > 0

    def _anneal(self, trainer_state: TrainerState) -> None:
        for fit_run in self.fit_runs:
            if fit_run.lr_schedule.ends_at is None:
                with defer_signals():
                    fit_run.anneal_now(trainer_state)
