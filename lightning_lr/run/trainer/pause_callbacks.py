"""Keeps checkpoint and early-stopping callbacks from judging weights that are about to be restored.

While a run explores, a validation may see weights of a rate that is far too high, or luckily low losses that will not
stand. Neither may become the "best" checkpoint, nor eat patience. So the hooks by which such callbacks judge do nothing
until the exploration is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from lightning_lr.run.patches import patch

JUDGES = ("ModelCheckpoint", "EarlyStopping")
HOOKS = ("on_train_batch_end", "on_train_epoch_end", "on_validation_end")


class PausedCallbacks:
    """The callbacks that are suspended; undone by :meth:`end`.

    Args:
        callbacks: ``trainer.callbacks``; those whose class is, or derives from, a judging one are suspended.
    """

    def __init__(self, callbacks: Iterable[Any]) -> None:
        self._undo = ExitStack()
        for callback in filter(_judges, callbacks):
            for hook in HOOKS:
                patch(callback, hook, _nothing, self._undo)

    def end(self) -> None:
        """Let them judge again; calling it twice does no harm."""
        self._undo.close()


def _judges(callback: Any) -> bool:
    """By name, since the classes of the two Lightning packages are not related.

    A checkpoint callback without a monitor does not judge: it writes what there is, to resume from.
    """
    if getattr(callback, "monitor", None) is None:
        return False
    return any(base.__name__ in JUDGES for base in type(callback).__mro__)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """In place of a hook; a function of the module, so that the callback can still be pickled."""
