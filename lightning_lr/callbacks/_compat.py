"""The base class of our callbacks: a Callback of ``lightning.pytorch`` and of ``pytorch_lightning`` at once.

The two packages hold the same code under two names, and neither's ``Callback`` is the other's. A class that is both
works in either Trainer, in ``callbacks=[...]`` and in ``callbacks=...``, and in either command line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

H = TypeVar("H", bound=Callable[..., None])

if TYPE_CHECKING:
    DualCallback = Callback
else:
    try:
        from pytorch_lightning.callbacks import Callback as _Other
    except ImportError:  # an environment with one of the two alone
        DualCallback = Callback
    else:

        class DualCallback(Callback, _Other):
            """A callback for the Trainers of both packages."""


def say(trainer: Any, sentence: str) -> None:
    """Print a sentence for the user, on rank 0: above the progress bar if there is one, else as Lightning logs its own.

    tqdm clears its bars before it writes, and Rich's bar redirects what is printed; a log record is glued to either.
    """
    bar = getattr(trainer, "progress_bar_callback", None)
    if bar is None or not getattr(bar, "is_enabled", True):
        rank_zero_info(f"lightning_lr: {sentence}")
    elif trainer.is_global_zero:
        Tqdm.write(f"lightning_lr: {sentence}")


def warn(sentence: str) -> None:
    """Warn the user, on rank 0, as Lightning warns."""
    rank_zero_warn(f"lightning_lr: {sentence}", stacklevel=3)


def not_traced(hook: H) -> H:
    """A hook that runs as it is also within a compiled optimizer step, whose closure calls it.

    Traced, it would be compiled anew at each change of the rate, if torch could do so at all.
    """
    disable: Any = torch.compiler.disable  # has no types
    return cast("H", disable(hook))


__all__ = ["DualCallback", "DummyLogger", "not_traced", "say", "warn"]
