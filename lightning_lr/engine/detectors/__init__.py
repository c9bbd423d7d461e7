"""One file a detector, found by being here: a module of this folder registers the detectors that it defines.

A detector imports records, history and `base`, never another detector; the engine and offline import this registry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from lightning_lr.engine.detectors.base import MARKS, Detector
from lightning_lr.engine.vocabulary import Condition
from lightning_lr.errors import ArgumentError

__all__ = ["checked_detectors", "default_detectors", "look_of", "sorted_detectors"]


@cache
def default_detectors() -> tuple[Detector, ...]:
    """One of each class in this folder, with its default settings, in the order of precedence.

    >>> [str(detector.condition) for detector in default_detectors()][:2]
    ['non_finite', 'divergence']
    """
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__) if found.name != "base"]
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Detector) and value.__module__ == module.__name__
    ]
    return sorted_detectors(found() for found in classes)


def sorted_detectors(detectors: Iterable[Detector]) -> tuple[Detector, ...]:
    """In the order of precedence; those of one precedence by condition and class."""
    return tuple(sorted(detectors, key=lambda d: (d.precedence, d.condition, type(d).__name__)))


KIND_MARKS = {"search": "diamond-open", "anneal": "triangle-down-open"}
"""Marks of decisions that answer no condition."""


def look_of(condition: Condition, own: Iterable[Detector] = (), kind: str = "") -> tuple[str, str]:
    """Color and mark of a condition in every picture; grey and a hollow mark for one that has no detector.

    Args:
        condition: of a decision.
        own: the detectors that the user added to the built-in ones, from the settings of the run.
        kind: what the decision is called, if the condition is healthy.

    >>> look_of(Condition.PLATEAU), look_of(Condition.HEALTHY)
    (('#0072b2', 'circle'), ('#5a6470', 'circle-open'))
    """
    found = (one for one in (*default_detectors(), *own) if one.condition is condition)
    return next(((one.color, one.mark) for one in found), (Detector.color, KIND_MARKS.get(kind, "circle-open")))


def checked_detectors(own: Any, answered: Iterable[Condition]) -> tuple[Detector, ...]:
    """A user's own detectors, that beside the built-in ones find every condition that the policy answers.

    Args:
        own: the callback's argument ``detectors``.
        answered: conditions that the policy has a response to.

    Raises:
        ArgumentError: if one of them is no detector, contradicts another one, or if a condition has no detector.

    >>> checked_detectors([], ["plataeu"])
    Traceback (most recent call last):
    lightning_lr.errors.ArgumentError: Expected a policy for conditions that a detector finds but it has a response ...
    """
    if not isinstance(own, Sequence) or isinstance(own, str):
        raise ArgumentError(f"Expected `detectors` to be a list of detectors but got {own!r}.")
    known: dict[Any, Detector] = {detector.condition: detector for detector in default_detectors()}
    for one in own:
        if not isinstance(one, Detector):
            hint = f" Write {one.__name__}()." if isinstance(one, type) else " Derive it from lightning_lr.Detector."
            raise ArgumentError(f"Expected `detectors` to be a list of detectors but got {one!r} in it.{hint}")
        condition = getattr(one, "condition", None)
        named = isinstance(condition, Condition) and re.fullmatch("[a-z][a-z0-9_]*", condition)
        if not named or condition is Condition.HEALTHY:
            raise ArgumentError(
                f"Expected the `condition` of {type(one).__name__} to be a word of small letters, digits and "
                f"underscores, other than 'healthy', but got {condition!r}."
            )
        if not re.fullmatch("#[0-9a-fA-F]{6}", one.color) or one.mark not in MARKS:
            raise ArgumentError(
                f"Expected {type(one).__name__} to have a `color` like '#0072b2' and a `mark` of "
                f"{', '.join(sorted(MARKS))} but got {one.color!r} and {one.mark!r}."
            )
        other = known.setdefault(condition, one)
        for name in ("precedence", "votes", "urgent"):
            if getattr(one, name) != getattr(other, name):
                raise ArgumentError(
                    f"Expected the detectors of {condition} to agree on `{name}` but {type(other).__name__} has "
                    f"{getattr(other, name)} and {type(one).__name__} has {getattr(one, name)}."
                )
    for condition in answered:
        if condition not in known:
            raise ArgumentError(
                f"Expected a policy for conditions that a detector finds but it has a response to {condition!r}. "
                f"Pass a detector of it in `detectors`, or choose one of {', '.join(sorted(known))}."
            )
    return tuple(own)
