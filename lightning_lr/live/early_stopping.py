"""Beside EarlyStopping: a run that it ends is annealed first, and its patience begins anew where a state was restored.

EarlyStopping ends a run whose rate is still high: most of what an annealed end brings would be lost. So where its
patience is used up, the end of the curve begins, and once that is over, it stops the run as it wanted to. All other
reasons for which it stops (a value that is not finite, a threshold) are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from lightning_lr.live.moment import Moment
from lightning_lr.live.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from lightning_lr.live.session import Session

HOOKS = {"on_train_epoch_end": True, "on_validation_end": False}
"""Hook in which it may stop the run → whether an epoch is over then."""


def anneal_before_stopping(session: Session, trainer: Any) -> None:
    """Until the end of the fit, each EarlyStopping of this Trainer lets the run be annealed before it stops it."""
    for callback in filter(_stops_early, trainer.callbacks):
        for hook, epoch_over in HOOKS.items():
            # On the instance, where Lightning looks first; the class stays as it is.
            callback.__dict__[hook] = partial(_judge, session, callback, getattr(callback, hook), epoch_over)
            session.undo.append(partial(callback.__dict__.pop, hook, None))


def give_patience(callbacks: Iterable[Any]) -> None:
    """Let EarlyStopping count from here on: the checks so far judged a state that went."""
    for callback in filter(_stops_early, callbacks):
        callback.wait_count = 0


def _judge(
    session: Session, callback: Any, inner: Callable[..., None], epoch_over: bool, trainer: Any, module: Any
) -> None:
    course, stopped, before = session.course, trainer.should_stop, callback.stopped_epoch
    if course.explores:
        return
    inner(trainer, module)
    if stopped:
        return
    if course.ended_early:
        callback.stopped_epoch, trainer.should_stop = trainer.current_epoch, True
    elif trainer.should_stop and _out_of_patience(session, callback):
        trainer.should_stop, callback.stopped_epoch = False, before
        if trainer.fit_loop._can_stop_early:  # before min_epochs nothing may end
            callback.wait_count = 0
            if course.ends_at is None:
                with uninterrupted():
                    session.end_early(Moment.of(trainer, epoch_over))


def _out_of_patience(session: Session, callback: Any) -> bool:
    """Whether that is why it stops, on any rank; all ranks stop together, so all of them ask."""
    return session.ranks.sum([float(callback.wait_count >= callback.patience)])[0] > 0


def _stops_early(callback: Any) -> bool:
    # By name: there is one in `lightning.pytorch` and another in `pytorch_lightning`.
    return any(base.__name__ == "EarlyStopping" for base in type(callback).__mro__)
