"""Puts signals off until a check is over.

Lightning saves a checkpoint inside its handler of the signal by which SLURM announces the end of a job, wherever that
finds the program. In the middle of a check the readings are taken and nothing is decided yet: a run resumed from there
would be one check short. So the handlers wait for the end of the check.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ANNOUNCED = tuple(
    getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""By which schedulers announce the end: SLURM's ``--signal`` takes any, these are the ones in use."""


@contextmanager
def defer_signals() -> Iterator[None]:
    """Handlers written in Python run at the end of the block; the others (``SIG_DFL``) are left alone.

    Outside of the main thread, where Python runs no handler, it does nothing.

    >>> seen = []
    >>> former = signal.signal(signal.SIGTERM, lambda number, frame: seen.append("seen"))
    >>> with defer_signals():
    ...     signal.raise_signal(signal.SIGTERM)
    ...     seen.append("decided")
    >>> seen
    ['decided', 'seen']
    >>> _ = signal.signal(signal.SIGTERM, former)
    """
    handlers = {number: signal.getsignal(number) for number in ANNOUNCED} if _in_main_thread() else {}
    waiting: list[tuple[int, FrameType | None]] = []

    def wait(number: int, frame: FrameType | None) -> None:
        waiting.append((number, frame))

    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in ours:
        signal.signal(number, wait)
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for number, frame in waiting:
            ours[signal.Signals(number)](number, frame)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
