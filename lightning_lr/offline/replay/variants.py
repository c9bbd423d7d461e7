"""Settings to replay a run with: the journal's own, a preset, single arguments, several side by side.

``patience=3`` goes through the very checks that the callback's arguments go through.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

from lightning_lr.engine.policies import PRESETS, EpochPolicy
from lightning_lr.engine.policies.epochs import REMEDIES
from lightning_lr.engine.settings import Settings, settings_from
from lightning_lr.errors import ArgumentError
from lightning_lr.offline.logs.run import Run

NAMES = tuple(inspect.signature(settings_from).parameters)
"""The arguments that may be set: those of the callback that the engine knows."""

FIXED = {"monitor": "--monitor", "mode": "--mode", "train_monitor": "--train-monitor"}
"""Arguments that say what is watched: the same in all variants, so that they can be compared."""


@dataclass(frozen=True)
class Variant:
    """One column of a replay.

    Attributes:
        name: as it is shown.
        settings: what the engine is configured with.
        own: whether these are the settings that the run was made with.
    """

    name: str
    settings: Settings
    own: bool = False


def variants_of(run: Run, policy: str | None, sets: Sequence[str], others: Sequence[str]) -> list[Variant]:
    """The settings that a replay was asked for; the first column, then one for each ``--variant``.

    Args:
        run: its settings are what is changed.
        policy: a preset in place of the run's own.
        sets: ``name=value``.
        others: further columns, each several ``name=value`` with spaces between them.

    Raises:
        ArgumentError: if a name or a value cannot be.
    """
    first = parsed(sets, policy)
    own = "own settings" if run.decided else f"policy {run.settings.policy.name}"
    asked = [first, *(parsed(other.replace(",", " ").split()) for other in others)]
    return [Variant(_name(changes) or own, _changed(run, changes), run.decided and not changes) for changes in asked]


def parsed(sets: Sequence[str], policy: str | None = None) -> dict[str, Any]:
    """Names and values from ``name=value``, after ``policy`` if it is given.

    Raises:
        ArgumentError: if one is no such pair, or there is no such argument.

    >>> parsed(["patience=3", "min_lr=1e-5:1e-4", "restore_best=false"])
    {'patience': 3, 'min_lr': (1e-05, 0.0001), 'restore_best': False}
    """
    changes: dict[str, Any] = {"policy": policy} if policy else {}
    for text in sets:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise ArgumentError(f"Expected NAME=VALUE, as in patience=3, but got {text!r}.")
        if name in FIXED:
            raise ArgumentError(f"Expected {FIXED[name]} to say what is watched but got {text!r}.")
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1)
            hint = (
                f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(n for n in NAMES if n not in FIXED)}."
            )
            raise ArgumentError(f"Expected the name of an argument but got {name!r}. {hint}")
        changes[name] = _value(value.strip())
    return changes


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    if ":" in text:
        return tuple(_value(part) for part in text.split(":"))
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        return float(text)
    return text


def _changed(run: Run, changes: dict[str, Any]) -> Settings:
    if not changes:
        return run.settings
    known = {field.name: getattr(run.settings, field.name) for field in fields(run.settings)}
    # A policy that counts epochs would refuse what the run had set for another one.
    dropped = REMEDIES if isinstance(PRESETS.get(changes.get("policy", "")), EpochPolicy) else ()
    kept = {name: value for name, value in known.items() if name in NAMES and name not in dropped}
    now = kept | {"monitor": known["monitors"]} | changes
    return replace(settings_from(**now), loss_beside=run.settings.loss_beside)


def _name(changes: dict[str, Any]) -> str:
    policy = [f"policy {changes['policy']}"] if "policy" in changes else []
    return ", ".join([*policy, *(f"{name}={_shown(value)}" for name, value in changes.items() if name != "policy")])


def _shown(value: Any) -> str:
    return ":".join(map(str, value)) if isinstance(value, tuple) else str(value)
