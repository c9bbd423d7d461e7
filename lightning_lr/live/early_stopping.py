"""Beside EarlyStopping: a run that it ends is annealed first, and its patience begins anew where a state was restored.

EarlyStopping ends a run whose rate is still high: most of what an annealed end brings would be lost. So where its
patience is used up, the end of the curve begins, and once that is over, it stops the run as it wanted to. All other
reasons for which it stops (a value that is not finite, a threshold) are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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
    for callback in filter(stops_early, trainer.callbacks):
        for hook, epoch_over in HOOKS.items():
            judge = getattr(callback, hook)
            if not isinstance(judge, _Judge):
                # On the instance, where Lightning looks first; the class stays as it is.
                callback.__dict__[hook] = judge = _Judge(callback, judge, epoch_over)
            judge.sessions.append(session)
            session.undo.append(partial(judge.leave, session, hook))


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
        sessions: whose rates are annealed; one for each controller of the Trainer.
    """

    callback: Any
    inner: Callable[..., None]
    epoch_over: bool
    sessions: list[Session] = field(default_factory=list)

    def __call__(self, trainer: Any, module: Any) -> None:
        callback, stopped, before = self.callback, trainer.should_stop, self.callback.stopped_epoch
        if any(session.course.explores for session in self.sessions):
            return
        self.inner(trainer, module)
        if stopped:
            return
        if all(session.course.ended_early for session in self.sessions):
            callback.stopped_epoch, trainer.should_stop = trainer.current_epoch, True
        elif trainer.should_stop and self._out_of_patience():
            trainer.should_stop, callback.stopped_epoch = False, before
            if trainer.fit_loop._can_stop_early:  # before min_epochs nothing may end
                callback.wait_count = 0
                self._begin_ends(Moment.of(trainer, self.epoch_over))

    def leave(self, session: Session, hook: str) -> None:
        """The fit of a session is over; with the last one the callback is as it was."""
        self.sessions.remove(session)
        if not self.sessions:
            self.callback.__dict__.pop(hook, None)

    def _out_of_patience(self) -> bool:
        """Whether that is why it stops, on any rank; all ranks stop together, so all of them ask."""
        return self.sessions[0].ranks.sum([float(self.callback.wait_count >= self.callback.patience)])[0] > 0

    def _begin_ends(self, moment: Moment) -> None:
        for session in self.sessions:
            if session.course.ends_at is None:
                with uninterrupted():
                    session.end_early(moment)


def stops_early(callback: Any) -> bool:
    """Whether a callback is EarlyStopping, or derives from it."""
    # By name: there is one in `lightning.pytorch` and another in `pytorch_lightning`.
    return any(base.__name__ == "EarlyStopping" for base in type(callback).__mro__)
