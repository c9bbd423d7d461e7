"""The callback's arguments, checked, as the settings of the core; the command line's ``--set`` goes the same way.

Each message says what was expected, what came, and where that does not tell by itself, what to write.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from os import PathLike
from typing import Any, TypeVar

from lightning_lr.engine.detectors import checked_detectors
from lightning_lr.engine.policies.policy import PRESETS, RESTORED, Policy
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Mode, Vote
from lightning_lr.errors import ArgumentError

W = TypeVar("W", bound=Enum)

NOT_FOR_RECIPES = {
    "patience": "A recipe moves after a fixed time: say `epochs`.",
    "factor": "A recipe multiplies by `ratio`: say that.",
    "restore_best": "A recipe restores nothing: leave it out, or choose policy='auto'.",
    "cooldown": "A recipe moves after a fixed time: leave it out, and say `epochs`.",
    "warmup_checks": "A recipe moves after a fixed time: leave it out, and say `epochs`.",
    "check_every_n_steps": "A recipe moves at the ends of epochs: leave it out.",
}
"""Arguments that a recipe would ignore → what to do instead."""


def settings_from(
    *,
    monitor: Any = "val_loss",
    mode: Any = "min",
    policy: Any = "auto",
    patience: Any = None,
    cooldown: Any = 0,
    factor: Any = None,
    min_delta: Any = 0.0,
    rel_delta: Any = 1e-3,
    min_lr: Any = 0.0,
    max_lr: Any = None,
    train_monitor: Any = None,
    vote: Any = "majority",
    restore_best: Any = None,
    warmup_checks: Any = 0,
    epochs: Any = None,
    ratio: Any = None,
    detectors: Any = (),
) -> Settings:
    """The settings of the core. The defaults are those of the callback.

    Raises:
        ArgumentError: where an argument cannot work.

    >>> settings_from(policy="halving", epochs=12).policy.epochs
    12
    >>> settings_from(patience=0)
    Traceback (most recent call last):
    lightning_lr.errors.ArgumentError: Expected `patience` to be an integer ≥ 1 but got 0.
    """
    base = _policy(policy)
    _heard(base, patience=patience, factor=factor, restore_best=restore_best)
    _heard(base, cooldown=cooldown or None, warmup_checks=warmup_checks or None)
    chosen = base.tuned(
        patience=None if patience is None else _integer("patience", patience, 1),
        factor=None if factor is None else _number("factor", factor, above=0.0, below=1.0),
        restores=_flag("restore_best", restore_best),
    )
    low, high = _bound("min_lr", min_lr, zero=True), _bound("max_lr", max_lr)
    _ordered(low, high)
    return Settings(
        monitors=_monitors(monitor),
        mode=_word("mode", Mode, mode),
        policy=_recipe(chosen, epochs, ratio),
        train_monitor=None if train_monitor is None else _name("train_monitor", train_monitor),
        vote=_word("vote", Vote, vote),
        min_delta=_number("min_delta", min_delta),
        rel_delta=_number("rel_delta", rel_delta),
        cooldown=_integer("cooldown", cooldown, 0),
        warmup_checks=_integer("warmup_checks", warmup_checks, 0),
        min_lr=0.0 if low is None else low,
        max_lr=high,
        detectors=checked_detectors(detectors, chosen.responses),
    )


def check_options(*, optimizers: Any, journal: Any, snapshot_folder: Any, name: Any, **switches: Any) -> None:
    """Check the callback's arguments that are no settings of the core: what to control, where to write, what is on.

    Raises:
        ArgumentError: where an argument cannot work.
    """
    chosen = optimizers if isinstance(optimizers, Sequence) and not isinstance(optimizers, str) else ()
    if optimizers is not None and not (chosen and all(_is_choice(one) for one in chosen)):
        raise ArgumentError(
            f"Expected `optimizers` to be a list of indices and names of parameter groups but got {optimizers!r}."
        )
    for argument, path in (("journal", journal), ("snapshot_folder", snapshot_folder)):
        if path is not None and not (isinstance(path, (str, PathLike)) and str(path)):
            raise ArgumentError(f"Expected `{argument}` to be a path or None but got {path!r}.")
    if name is not None and not (isinstance(name, str) and name and not set(name) & set("/\\")):
        raise ArgumentError(f"Expected `name` to be a word without slashes or None but got {name!r}.")
    for argument, value in switches.items():
        if not isinstance(value, bool):
            raise ArgumentError(f"Expected `{argument}` to be True or False but got {value!r}.")


def checked_interval(steps: Any, policy: Policy) -> int | None:
    """The callback's ``check_every_n_steps``: an integer, 0 for none, or ``None`` to choose from the budget.

    Raises:
        ArgumentError: where it is something else, or the policy never looks between two validations.
    """
    _heard(policy, check_every_n_steps=steps or None)
    return None if steps is None else _integer("check_every_n_steps", steps, 0)


def _is_choice(one: Any) -> bool:
    return isinstance(one, str) or (isinstance(one, int) and not isinstance(one, bool))


def _policy(policy: Any) -> Policy:
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, str) and policy in PRESETS:
        return PRESETS[policy]
    raise ArgumentError(
        f"Expected `policy` to be a Policy or {_one_of(PRESETS)} but got {policy!r}.{_near(policy, PRESETS)}"
    )


def _heard(policy: Policy, **given: Any) -> None:
    """Refuse an argument that the policy would ignore."""
    responses = policy.responses.items()
    taken = {
        "patience": any(response.patience > 1 for _, response in responses),
        "factor": any(response.action is not Action.RAISE for _, response in responses),
        "restore_best": any(condition in RESTORED for condition, _ in responses),
    }
    for name, value in given.items():
        if value is None or (name == "restore_best" and value is not True):
            continue
        if policy.recipe is not None:
            remedy = NOT_FOR_RECIPES[name]
        elif not taken.get(name, True):
            remedy = "None of its responses takes it: leave it out, or give the policy a response that does."
        else:
            continue
        raise ArgumentError(f"Expected no `{name}` with policy {policy.name!r} but got {value!r}. {remedy}")


def _recipe(policy: Policy, epochs: Any, ratio: Any) -> Policy:
    for name, value in (("epochs", epochs), ("ratio", ratio)):
        if value is not None and policy.recipe is None:
            raise ArgumentError(
                f"Expected `{name}` only with policy='halving' or 'exponential' but got it with {policy.name!r}. "
                f"Leave `{name}` out or choose a recipe."
            )
    if epochs is not None:
        policy = replace(policy, epochs=_integer("epochs", epochs, 1))
    if ratio is not None:
        policy = replace(policy, ratio=_number("ratio", ratio, above=0.0, below=1.0))
    return policy


def _monitors(monitor: Any) -> tuple[str, ...]:
    names = (monitor,) if isinstance(monitor, str) else tuple(monitor) if isinstance(monitor, Sequence) else ()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ArgumentError(f"Expected `monitor` to be a metric name or a list of them but got {monitor!r}.")
    if len(set(names)) < len(names):
        raise ArgumentError(f"Expected `monitor` to name each metric once but got {list(names)!r}.")
    return names


def _name(argument: str, value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    raise ArgumentError(f"Expected `{argument}` to be a metric name but got {value!r}.")


def _word(argument: str, words: type[W], value: Any) -> W:
    try:
        return words(value)
    except ValueError:
        choices = [str(word.value) for word in words]
        raise ArgumentError(
            f"Expected `{argument}` to be {_one_of(choices)} but got {value!r}.{_near(value, choices)}"
        ) from None


def _integer(argument: str, value: Any, least: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ArgumentError(f"Expected `{argument}` to be an integer ≥ {least} but got {value!r}.")


def _number(argument: str, value: Any, above: float | None = None, below: float = math.inf) -> float:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if real and value < below and (value >= 0 if above is None else value > above):
        return float(value)
    wanted = "a finite number ≥ 0" if above is None else f"a number above {above:g} and below {below:g}"
    raise ArgumentError(f"Expected `{argument}` to be {wanted} but got {value!r}.")


def _flag(argument: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise ArgumentError(f"Expected `{argument}` to be True, False or None (the policy decides) but got {value!r}.")


def _bound(argument: str, value: Any, zero: bool = False) -> float | tuple[float, ...] | None:
    if value is None:
        return None
    values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    for one in values or (None,):
        real = isinstance(one, (int, float)) and not isinstance(one, bool)
        if one is None or not real or not (0 if zero else 1e-300) <= one < math.inf:
            sign = "≥ 0" if zero else "> 0"
            raise ArgumentError(
                f"Expected `{argument}` to be a finite number {sign}, or one for each group, but got {value!r}."
            )
    return float(values[0]) if values[0] is value else tuple(map(float, values))


def _ordered(low: float | tuple[float, ...] | None, high: float | tuple[float, ...] | None) -> None:
    lows = low if isinstance(low, tuple) else (low or 0.0,)
    highs = high if isinstance(high, tuple) else (math.inf if high is None else high,)
    pairs = zip(lows, highs, strict=True) if len(lows) == len(highs) else ((max(lows), min(highs)),)
    if any(one > other for one, other in pairs):
        raise ArgumentError(f"Expected `min_lr` ≤ `max_lr` but got min_lr={low!r} and max_lr={high!r}.")


def _one_of(choices: Any) -> str:
    return "one of " + ", ".join(repr(choice) for choice in choices)


def _near(value: Any, choices: Any) -> str:
    near = difflib.get_close_matches(str(value), list(choices), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
