"""Everything that the engine is configured with, and the check of it.

Each message says what was expected, what came, and if that does not tell by itself, what to write.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeVar

from lightning_lr.engine.detectors import checked_detectors
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.policies import PRESETS, Policy
from lightning_lr.engine.policies.epochs import refuse_for_epochs
from lightning_lr.engine.vocabulary import Mode, Vote
from lightning_lr.errors import ArgumentError, check_integer, check_number

W = TypeVar("W", bound=Enum)


@dataclass(frozen=True)
class Settings:
    """Settings of the engine, already checked and in their final types.

    Attributes:
        monitors: metric names; a restore restores the best state of the first one.
        mode: direction in which they are better.
        policy: what is done about each condition.
        train_monitor: logged metric that stands for training; ``None`` for the loss of ``training_step``.
        vote: how many monitors must agree.
        min_delta: least absolute change that counts as improvement, ≥ 0.
        cooldown: checks after an adjustment without another.
        min_lr: lower bound of the applied learning rate, one number or one a parameter group.
        max_lr: upper bound, likewise; ``None`` for none.
        detectors: the user's own, beside the built-in ones.
        loss_beside: held-out loss that is read beside monitors that are no losses, if one is logged.
    """

    monitors: tuple[str, ...] = ("val_loss",)
    mode: Mode = Mode.MIN
    policy: Policy = PRESETS["auto"]
    train_monitor: str | None = None
    vote: Vote = Vote.MAJORITY
    min_delta: float = 0.0
    cooldown: int = 0
    min_lr: float | tuple[float, ...] = 0.0
    max_lr: float | tuple[float, ...] | None = None
    detectors: tuple[Detector, ...] = ()
    loss_beside: str | None = None

    @property
    def unanswered(self) -> tuple[Detector, ...]:
        """The user's own detectors of a condition that the policy has no response to."""
        return tuple(detector for detector in self.detectors if detector.condition not in self.policy.responses)

    def bounds(self, group: int) -> tuple[float, float | None]:
        """Lower and upper bound of one parameter group; a list that is too short serves with its last number.

        >>> Settings(min_lr=(1e-4, 1e-5)).bounds(1)
        (1e-05, None)
        """
        low = self.min_lr[min(group, len(self.min_lr) - 1)] if isinstance(self.min_lr, tuple) else self.min_lr
        high = self.max_lr[min(group, len(self.max_lr) - 1)] if isinstance(self.max_lr, tuple) else self.max_lr
        return low, high


def settings_from(
    *,
    monitor: Any = None,
    mode: Any = "min",
    policy: Any = "auto",
    patience: Any = None,
    cooldown: Any = 0,
    factor: Any = None,
    min_delta: Any = 0.0,
    min_lr: Any = 0.0,
    max_lr: Any = None,
    train_monitor: Any = None,
    vote: Any = "majority",
    restore_best: Any = None,
    detectors: Any = (),
    rel_delta: Any = None,
    warmup_checks: Any = None,
    min_probability: Any = None,
    epochs: Any = None,
    ratio: Any = None,
) -> Settings:
    """The settings, checked: of the callback's arguments, and of the command line's ``--set``.

    The defaults are those of the callback. The last five are numbers of the policy, which ``--set`` may name as well.

    Raises:
        ArgumentError: if an argument cannot work.

    >>> settings_from(policy="halving", epochs=12).policy.epochs
    12
    >>> settings_from(patience=0)
    Traceback (most recent call last):
    lightning_lr.errors.ArgumentError: Expected `patience` to be an integer ≥ 1 but got 0.
    """
    numbers = {"rel_delta": rel_delta, "warmup_checks": warmup_checks, "min_probability": min_probability}
    chosen = _with_numbers(_policy(policy), **numbers, epochs=epochs, ratio=ratio).tuned(
        patience=None if patience is None else check_integer("patience", patience, 1),
        factor=None if factor is None else check_number("factor", factor, above=0.0, below=1.0),
        restores=_flag("restore_best", restore_best),
    )
    refuse_for_epochs(chosen, cooldown=cooldown or None)
    low, high = _bound("min_lr", min_lr, zero=True), _bound("max_lr", max_lr)
    _ordered(low, high)
    return Settings(
        monitors=_monitors(monitor),
        mode=_word("mode", Mode, mode),
        policy=chosen,
        train_monitor=None if train_monitor is None else _name("train_monitor", train_monitor),
        vote=_word("vote", Vote, vote),
        min_delta=check_number("min_delta", min_delta),
        cooldown=check_integer("cooldown", cooldown, 0),
        min_lr=0.0 if low is None else low,
        max_lr=high,
        detectors=checked_detectors(detectors, chosen.responses),
    )


def _policy(policy: Any) -> Policy:
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, str) and policy in PRESETS:
        return PRESETS[policy]
    raise ArgumentError(
        f"Expected `policy` to be a Policy or {_one_of(PRESETS)} but got {policy!r}.{_near(policy, PRESETS)}"
    )


def _with_numbers(policy: Policy, **numbers: Any) -> Policy:
    given = {name: value for name, value in numbers.items() if value is not None}
    for name in given:
        if not hasattr(policy, name):
            raise ArgumentError(
                f"Expected `{name}` only with policy='halving' or 'exponential' but got it with {policy.name!r}. Leave "
                "it out or choose one of these policies."
            )
    return replace(policy, **given) if given else policy


def _monitors(monitor: Any) -> tuple[str, ...]:
    if monitor is None:
        return Settings.monitors
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
