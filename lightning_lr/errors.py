"""Every error that this package raises on purpose.

::

    LightningLRError
    ├── ArgumentError          (also ValueError)   a setting that cannot work, found at construction
    ├── MissingMetricError     (also KeyError)     a monitor that was never logged
    ├── UnsupportedError       (also RuntimeError) a Trainer that the asked-for feature cannot work with
    ├── StateError             (also ValueError)   a checkpoint of a version that this one cannot continue
    ├── JournalError           (also ValueError)   a journal line that cannot be read
    └── LogError               (also ValueError)   a run, of whatever logger, with nothing in it that can be read

Each message says what was expected, what was found, and what to do. Below stand the two checks of numbers that the
settings, the policies and the callback's options share.
"""

from __future__ import annotations

import math
from typing import Any


class LightningLRError(Exception):
    """The root: ``except LightningLRError`` catches whatever this package raises on purpose."""


class ArgumentError(LightningLRError, ValueError):
    """A setting that cannot work, found before training starts."""


class MissingMetricError(LightningLRError, KeyError):
    """A monitor that was never logged."""

    def __str__(self) -> str:
        # KeyError would print the repr of the message, with quotes and escaped line ends.
        return str(self.args[0]) if self.args else ""


class UnsupportedError(LightningLRError, RuntimeError):
    """A Trainer, strategy or optimizer that the asked-for feature cannot work with."""


class StateError(LightningLRError, ValueError):
    """A state in a checkpoint that this version cannot continue."""


class JournalError(LightningLRError, ValueError):
    """A journal line that cannot be read."""


class LogError(LightningLRError, ValueError):
    """A run, of whatever logger, that cannot be read, or that holds nothing to read."""


def check_integer(argument: str, value: Any, least: int) -> int:
    """Return an integer that is at least ``least``.

    Raises:
        ArgumentError: if it is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ArgumentError(f"Expected `{argument}` to be an integer ≥ {least} but got {value!r}.")


def check_number(argument: str, value: Any, above: float | None = None, below: float = math.inf) -> float:
    """Return a number above ``above`` and below ``below``; without ``above``, a finite one that is at least 0.

    Raises:
        ArgumentError: if it is something else.
    """
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if real and value < below and (value >= 0 if above is None else value > above):
        return float(value)
    wanted = "a finite number ≥ 0" if above is None else f"a number above {above:g} and below {below:g}"
    raise ArgumentError(f"Expected `{argument}` to be {wanted} but got {value!r}.")
