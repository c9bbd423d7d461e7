"""Another unit and another zero of loss and monitor decide alike.

The class of faults: a rule that compares a loss with zero. A loss is defined up to a constant (a likelihood, an
energy, a penalty), its unit is arbitrary, and neither says anything about the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.policies import PRESETS
from lightning_lr.engine.records import Decision, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Mode
from lightning_lr.offline.curves import FAMILIES, MONITOR

few = settings(max_examples=30, deadline=None)
KINDS, SEEDS, POLICIES = st.sampled_from(sorted(FAMILIES)), st.integers(0, 9), st.sampled_from(sorted(PRESETS))
SCALES = st.sampled_from([2.0**-30, 0.25, 2.0, 2.0**20])
SHIFTS = st.sampled_from([-1000.0, -3.0, -0.5, 7.0, 1000.0])


def moved(reading: Reading, scale: float, shift: float) -> Reading:
    """The same reading in another unit, from another zero."""
    window = reading.train
    if window is not None:
        blocks = tuple(scale * block + shift for block in window.blocks)
        window = replace(window, mean=scale * window.mean + shift, blocks=blocks)
    metrics = {name: scale * value + shift for name, value in reading.metrics.items()}
    return replace(reading, metrics=metrics, train=window)


def decided(readings: Sequence[Reading], policy: str, mode: Mode = Mode.MIN) -> list[tuple[Any, ...]]:
    """What the engine decides at each check, and whether its state is the best; nothing is adjusted in between."""
    engine, best, found = DecisionEngine(Settings((MONITOR,), mode, PRESETS[policy])), -1, []
    for reading in readings:
        decision = engine.check(replace(reading, snapshot_check=best, progress=(reading.check + 1) / len(readings)))
        best = reading.check if engine.is_best else best
        found.append((*told(decision), engine.is_best))
    return found


@lru_cache
def curve(kind: str, seed: int) -> Sequence[Reading]:
    """The readings of a pretended run."""
    return FAMILIES[kind](seed).readings


def told(decision: Decision) -> tuple[Any, ...]:
    return decision.check, decision.action, decision.condition, decision.factor, decision.snapshot_check


@few
@given(KINDS, SEEDS, POLICIES, SCALES)
def test_another_unit_decides_alike(kind, seed, policy, scale):
    """Powers of two, so that rounding scales as well."""
    readings = curve(kind, seed)
    assert decided([moved(r, scale, 0) for r in readings], policy) == decided(readings, policy)


@few
@given(KINDS, SEEDS, POLICIES, SHIFTS)
def test_another_zero_decides_alike(kind, seed, policy, shift):
    readings = curve(kind, seed)
    assert decided([moved(r, 1, shift) for r in readings], policy) == decided(readings, policy)


@few
@given(KINDS, SEEDS, POLICIES, SHIFTS)
def test_of_a_monitor_that_is_maximized_too(kind, seed, policy, shift):
    """Without the training loss, which has one direction only."""
    up = [replace(moved(r, -1, 0), train=None) for r in curve(kind, seed)]
    assert decided([moved(r, 1, shift) for r in up], policy, Mode.MAX) == decided(up, policy, Mode.MAX)
