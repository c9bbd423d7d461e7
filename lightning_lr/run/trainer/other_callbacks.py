"""What is done to the other callbacks of a Trainer: EarlyStopping waits, averages are restored.

**EarlyStopping** ends a run whose learning rate is still high: most of the gain of an annealed end would be lost. When
its patience is used up, the learning rate is annealed first; at the end of that the run stops, as it wanted. All other
reasons for which it stops (a value that is not finite, a threshold) are left alone. Its patience begins anew if a
snapshot is restored.

**Averages** of the weights (``WeightAveraging``, ``EMAWeightAveraging``) are restored together with the weights: one
NaN loss would stay in the average for good.

Callbacks are known by the names of their classes, which ``lightning.pytorch`` and ``pytorch_lightning`` share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn

from lightning_lr.run.defer_signals import defer_signals
from lightning_lr.run.patches import patch, patched_with
from lightning_lr.run.trainer.trainer_adapter import TrainerState, can_stop_early

if TYPE_CHECKING:
    from lightning_lr.run.fit_run import FitRun

STOPPING_HOOKS = {"on_train_epoch_end": True, "on_validation_end": False}
"""Hook in which EarlyStopping may stop the run → whether an epoch is over then."""


def is_a(callback: Any, *names: str) -> bool:
    """Whether a callback's class has one of these names, or derives from one that has."""
    return any(base.__name__ in names for base in type(callback).__mro__)


def last_after(callbacks: Sequence[Any], ours: Any) -> Any:
    """The last callback after ours that may swap weights for a validation; ``None`` if there is none.

    Only after it has swapped them back a snapshot is of the weights that train, and what is restored lasts.

    >>> class Average:
    ...     def on_validation_start(self): ...
    ...     def on_validation_end(self): ...
    >>> average = Average()
    >>> last_after([1, average, ""], 1) is average, last_after([average, 1, ""], 1), last_after([average], 1)
    (True, None, None)
    """
    places = [place for place, one in enumerate(callbacks) if one is ours]  # none in Fabric
    later = callbacks[places[0] + 1 :] if places else ()
    return next((one for one in reversed(later) if _may_swap(one)), None)


def _may_swap(callback: Any) -> bool:
    classes = [base for base in type(callback).__mro__ if base.__name__ not in ("Callback", "Checkpoint")]
    own = {name for base in classes for name in vars(base)}
    begins = {"on_validation_start", "on_validation_epoch_start"}
    return "on_validation_end" in own and bool(own & begins) and not is_a(callback, "ProgressBar", "Checkpoint")


def stops_early(callback: Any) -> bool:
    """Whether a callback is EarlyStopping, or derives from it."""
    return is_a(callback, "EarlyStopping")


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


def reset_patience(callbacks: Iterable[Any]) -> None:
    """Let EarlyStopping count from here on: the checks so far judged weights that were replaced."""
    for callback in filter(stops_early, callbacks):
        callback.wait_count = 0


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


# --- averages of the weights ------------------------------------------------------------------------------------------


def averaged_models_of(callbacks: Iterable[Any]) -> dict[str, nn.Module]:
    """Each :class:`torch.optim.swa_utils.AveragedModel` that a callback holds, by callback and attribute.

    It counts in a buffer how many steps it holds, so its parameters and buffers are all of it. The average of
    ``StochasticWeightAveraging`` is another class, without that count, and is left alone. An average that is a part of
    the LightningModule is copied with that.

    Args:
        callbacks: ``trainer.callbacks``.
    """
    return {
        f"{callback.state_key}.{name}": held
        for callback in callbacks
        for name, held in vars(callback).items()
        if isinstance(held, nn.Module) and is_a(held, "AveragedModel")
    }
