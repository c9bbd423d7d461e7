"""Callbacks are known by the names of their classes, which ``lightning.pytorch`` and ``pytorch_lightning`` share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def is_a(callback: Any, *names: str) -> bool:
    """Whether a callback's class has one of these names, or derives from one that has."""
    return any(base.__name__ in names for base in type(callback).__mro__)


def stops_early(callback: Any) -> bool:
    """Whether a callback is EarlyStopping, or derives from it."""
    return is_a(callback, "EarlyStopping")


def reset_patience(callbacks: Iterable[Any]) -> None:
    """Let EarlyStopping count from here on: the checks so far judged weights that were replaced."""
    for callback in filter(stops_early, callbacks):
        callback.wait_count = 0
