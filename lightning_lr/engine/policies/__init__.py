"""What is done about each condition, and when: one policy a file, and the words that stand for them.

To add a policy: a class in a file of its own, derived from `Policy` or `EpochPolicy`; its `name` is its shorthand.
Imported by the engine, `run` and the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Literal, Union

from lightning_lr.engine.policies.auto import AutoPolicy
from lightning_lr.engine.policies.conservative import ConservativePolicy
from lightning_lr.engine.policies.epochs import EpochPolicy
from lightning_lr.engine.policies.exponential import ExponentialPolicy
from lightning_lr.engine.policies.halving import HalvingPolicy
from lightning_lr.engine.policies.policy import Policy, Response

__all__ = [
    "AutoPolicy",
    "ConservativePolicy",
    "EpochPolicy",
    "ExponentialPolicy",
    "HalvingPolicy",
    "Policy",
    "Response",
]


def _presets() -> dict[str, Policy]:
    """One of each policy of this folder that has a name, as it is without arguments; sorted by that name."""
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    classes: list[Any] = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    named = {one.name: one for one in classes if issubclass(one, Policy) and isinstance(getattr(one, "name", 0), str)}
    return {name: named[name]() for name in sorted(named)}


PRESETS: Mapping[str, Policy] = _presets()
"""Shorthands: ``policy="auto"`` is ``policy=AutoPolicy()``."""

if TYPE_CHECKING:
    PolicyOrName = str | Policy
else:  # spelled out for command lines, which accept no subclass of a dataclass
    _FORMS = (Literal[tuple(PRESETS)], Policy, *map(type, PRESETS.values()))
    PolicyOrName = Union[_FORMS]  # noqa: UP007 - no `|` between what is in a tuple
