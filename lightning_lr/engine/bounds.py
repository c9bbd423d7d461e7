"""From the scheduled rate to the applied rate: the scale, within ``min_lr`` and ``max_lr``.

`decisions` foretells a rate with it and `optim` writes it with it, so the journal never promises what is not done.
"""

from __future__ import annotations

import math

from lightning_lr.errors import ArgumentError

# The least float above zero: a rate that underflows still trains, however slowly; a rate of 0 would freeze the group.
TINIEST = math.ulp(0.0)


def bounded(scheduled: float, scale: float, min_lr: float = 0.0, max_lr: float | None = None) -> float:
    """Return the rate to apply, given the rate of the schedule and the product of all adjustments.

    ``min_lr`` holds back our own cuts only. A schedule that is below it by itself, as in a warm-up, is followed as it
    is: raising it was not requested. ``max_lr`` holds whatever the rate comes from, and caps the
    schedule before it is scaled: else a cut of a schedule far above it would not be seen at all.
    With a scale of 1 and below ``max_lr`` ``scheduled`` itself is returned, without any arithmetic.

    Args:
        scheduled: the rate of the user's schedule. At 0 or below nothing is changed: 0 freezes a group.
        scale: the product of all adjustments, > 0.
        min_lr: lower bound of what a scale below 1 may lead to, ≥ 0.
        max_lr: upper bound of the applied rate, > 0; ``None`` for none.

    Raises:
        ArgumentError: where the scale is not a finite number above 0, or the result would not be finite.

    >>> bounded(0.1, 0.5)
    0.05
    >>> bounded(0.1, 0.001, min_lr=0.01)
    0.01
    >>> bounded(0.003, 0.5, min_lr=0.01)  # a warm-up below the bound is not raised
    0.003
    >>> bounded(0.1, 4.0, max_lr=0.3)
    0.3
    >>> bounded(10.0, 0.5, max_lr=0.3)
    0.15
    """
    check_scale(scale)
    scheduled = scheduled if max_lr is None else min(scheduled, max_lr)
    applied = scheduled
    if scale != 1.0 and not scheduled <= 0:
        applied = scheduled * scale
    if scale < 1.0 and scheduled > 0:
        applied = min(scheduled, max(applied, min_lr, TINIEST))
    if max_lr is not None and applied > max_lr:
        applied = max_lr
    if scale != 1.0 and not math.isfinite(applied):
        raise ArgumentError(
            f"Expected a finite learning rate but {scheduled!r} × {scale!r} is {applied!r}. "
            "Look at the schedule first: it may ask for a rate that is not finite; else set max_lr."
        )
    return applied


def check_scale(scale: float) -> None:
    """Refuse a scale that could freeze, reverse or destroy the training.

    >>> check_scale(0.0)
    Traceback (most recent call last):
    lightning_lr.errors.ArgumentError: Expected a scale that is finite and above 0 but got 0.0.
    """
    if not 0 < scale < math.inf:
        raise ArgumentError(f"Expected a scale that is finite and above 0 but got {scale!r}.")


def check_bounds(min_lr: float, max_lr: float | None) -> None:
    """Refuse bounds that no rate can keep.

    >>> check_bounds(0.1, 0.01)
    Traceback (most recent call last):
    lightning_lr.errors.ArgumentError: Expected min_lr ≤ max_lr but got min_lr=0.1 and max_lr=0.01.
    """
    if not 0 <= min_lr < math.inf:
        raise ArgumentError(f"Expected min_lr to be finite and at least 0 but got {min_lr!r}.")
    if max_lr is not None and not 0 < max_lr < math.inf:
        raise ArgumentError(f"Expected max_lr to be finite and above 0, or None, but got {max_lr!r}.")
    if max_lr is not None and min_lr > max_lr:
        raise ArgumentError(f"Expected min_lr ≤ max_lr but got min_lr={min_lr!r} and max_lr={max_lr!r}.")
