"""The base class of our callbacks: a Callback of ``lightning.pytorch`` and of ``pytorch_lightning`` at once.

The two packages hold the same code under two names, and neither's ``Callback`` is the other's. A class that is both
works in either Trainer, in ``callbacks=[...]`` and in ``callbacks=...``, and in either command line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

H = TypeVar("H", bound=Callable[..., None])
rank_zero_module: Any = sys.modules[rank_zero_info.__module__]

if TYPE_CHECKING:
    DualCallback = Callback
else:
    # Each of the two packages, once imported, takes the log records of both; that of the user keeps them.
    _USED = "pytorch_lightning" if "pytorch_lightning" in sys.modules else "lightning.pytorch"
    try:
        from pytorch_lightning.callbacks import Callback as _Other
    except ImportError:  # an environment with one of the two alone
        DualCallback = Callback
    else:

        class DualCallback(Callback, _Other):
            """A callback for the Trainers of both packages."""

    rank_zero_module.log = logging.getLogger(f"{_USED}.utilities.rank_zero")


def say(trainer: Any, sentence: str) -> None:
    """Log a sentence for the user, on rank 0, as Lightning logs its own; above the progress bar if there is one.

    tqdm clears its bars before it writes, and Rich's bar redirects what is printed; what a console handler writes is
    glued to either.
    """
    bar, line = getattr(trainer, "progress_bar_callback", None), f"lightning_lr: {sentence}"
    if bar is None or not getattr(bar, "is_enabled", True):
        rank_zero_info(line)
    elif trainer.is_global_zero and rank_zero_module.log.isEnabledFor(logging.INFO):
        Tqdm.write(line)
        with _console_silent():
            rank_zero_info(line)


@contextmanager
def _console_silent() -> Iterator[None]:
    """Keep the handlers that write to the console from doing so; those of files still get every record."""
    handlers = _handlers(rank_zero_module.log)
    console = [handler for handler in handlers if getattr(handler, "stream", None) in _terminals()]
    for handler in console:
        handler.addFilter(_refuse)
    try:
        yield
    finally:
        for handler in console:
            handler.removeFilter(_refuse)


def _refuse(record: logging.LogRecord) -> bool:
    return False


def _terminals() -> tuple[Any, ...]:
    return sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__


def _handlers(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    """Those that a record of this logger reaches."""
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


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
