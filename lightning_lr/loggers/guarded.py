"""Calls to loggers that may fail: a service that is down never ends a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class GuardedLoggers:
    """Calls loggers; of each that raises there is one warning.

    Args:
        warn: called with a sentence.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._warned: set[int] = set()

    def call(self, logger: Any, write: Callable[[Any], None]) -> None:
        """Let ``write`` use a logger; a later call may work again.

        >>> said = []
        >>> loggers = GuardedLoggers(said.append)
        >>> for _ in range(2):
        ...     loggers.call(None, lambda logger: logger.save())
        >>> said
        ["NoneType raised an error ('NoneType' object has no attribute 'save'): it may lack values of lightning_lr."]
        """
        try:
            write(logger)
        except Exception as error:  # whatever a service's client may raise
            if id(logger) not in self._warned:
                self._warned.add(id(logger))
                self._warn(f"{type(logger).__name__} raised an error ({error}): it may lack values of lightning_lr.")
