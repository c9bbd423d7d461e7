"""One file a detector, found by being here: a module of this folder registers the detectors that it defines.

A detector imports records, history and `base`, never another detector; the engine and offline import this registry.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from lightning_lr.engine.detectors.base import Detector

__all__ = ["Detector", "default_detectors", "sorted_detectors"]


@cache
def default_detectors() -> tuple[Detector, ...]:
    """One of each class in this folder, with its default settings, in the order of precedence.

    >>> [str(detector.condition) for detector in default_detectors()][:2]
    ['non_finite', 'divergence']
    """
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Detector) and value.__module__ == module.__name__
    ]
    return sorted_detectors(found() for found in classes if found is not Detector)


def sorted_detectors(detectors: Iterable[Detector]) -> tuple[Detector, ...]:
    """In the order of precedence; those of one precedence by condition and class."""
    return tuple(sorted(detectors, key=lambda d: (d.precedence, d.condition, type(d).__name__)))
