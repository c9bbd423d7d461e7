"""Beside EarlyStopping: a run that it ends is annealed first, and its patience begins anew where a state was restored.

EarlyStopping ends a run whose rate is still high: most of what an annealed end brings would be lost. So where its
patience is used up, the end of the curve begins, and once that is over, it stops the run as it wanted to. All other
reasons for which it stops (a value that is not finite, a threshold) are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightning_lr.run.defer_signals import defer_signals
from lightning_lr.run.patches import patch, patched_with
from lightning_lr.run.trainer.trainer_state import TrainerState

if TYPE_CHECKING:
    from lightning_lr.run.fit_run import FitRun

HOOKS = {"on_train_epoch_end": True, "on_validation_end": False}
"""Hook in which it may stop the run → whether an epoch is over then."""


def anneal_before_stopping(fit_run: FitRun, trainer: Any) -> None:
    """Until the end of the fit, each EarlyStopping of this Trainer lets the run be annealed before it stops it."""
    for callback in filter(stops_early, trainer.callbacks):
        for hook, epoch_over in HOOKS.items():
            judge = patched_with(callback, hook, _Judge)
            if judge is None:
                judge = _Judge(callback, getattr(callback, hook), epoch_over)
                patch(callback, hook, judge, judge.undo)
            judge.fit_runs.append(fit_run)
            fit_run.undo.callback(judge.leave, fit_run)


def give_patience(callbacks: Iterable[Any]) -> None:
    """Let EarlyStopping count from here on: the checks so far judged a state that went."""
    for callback in filter(stops_early, callbacks):
        callback.wait_count = 0


@dataclass
class _Judge:
    """In place of one hook of one EarlyStopping.

    Attributes:
        callback: the EarlyStopping.
        inner: its hook.
        epoch_over: whether an epoch is over then.
        fit_runs: whose rates are annealed; one for each controller of the Trainer.
        undo: gives the callback its hook back.
    """

    callback: Any
    inner: Callable[..., None]
    epoch_over: bool
    fit_runs: list[FitRun] = field(default_factory=list)
    undo: ExitStack = field(default_factory=ExitStack)

    def __call__(self, trainer: Any, module: Any) -> None:
        callback, stopped, before = self.callback, trainer.should_stop, self.callback.stopped_epoch
        self.inner(trainer, module)
        if stopped:
            return
        if all(fit_run.lr_schedule.ended_early for fit_run in self.fit_runs):
            callback.stopped_epoch, trainer.should_stop = trainer.current_epoch, True
        elif trainer.should_stop and self._out_of_patience():
            trainer.should_stop, callback.stopped_epoch = False, before
            if trainer.fit_loop._can_stop_early:  # before min_epochs nothing may end
                callback.wait_count = 0
                self._begin_ends(TrainerState.of(trainer, self.epoch_over))

    def leave(self, fit_run: FitRun) -> None:
        """The fit of a session is over; with the last one the callback is as it was."""
        self.fit_runs.remove(fit_run)
        if not self.fit_runs:
            self.undo.close()

    def _out_of_patience(self) -> bool:
        """Whether that is why it stops, on any rank; all ranks stop together, so all of them ask."""
        return self.fit_runs[0].ranks.sum([float(self.callback.wait_count >= self.callback.patience)])[0] > 0

    def _begin_ends(self, trainer_state: TrainerState) -> None:
        for fit_run in self.fit_runs:
            if fit_run.lr_schedule.ends_at is None:
                with defer_signals():
                    fit_run.end_early(trainer_state)


def stops_early(callback: Any) -> bool:
    """Whether a callback is EarlyStopping, or derives from it."""
    # By name: there is one in `lightning.pytorch` and another in `pytorch_lightning`.
    return any(base.__name__ == "EarlyStopping" for base in type(callback).__mro__)
