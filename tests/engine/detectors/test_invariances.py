"""What must hold for every detector, whatever the numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_lr.engine.detectors import default_detectors
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.policies import PRESETS
from lightning_lr.engine.records import Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Mode
from lightning_lr.offline.curves import FAMILIES, MONITOR

few = settings(max_examples=25, deadline=None)
CURVES = st.builds(lambda family, seed: FAMILIES[family](seed), st.sampled_from(sorted(FAMILIES)), st.integers(0, 500))


def verdicts(readings, mode=Mode.MIN, monitor=MONITOR):
    """Every verdict of every detector at every check."""
    series, detectors = RunHistory((monitor,), mode, rel_delta=1e-3), default_detectors()
    said = []
    for reading in readings:
        views = series.update(reading)
        said.append([(f.condition, f.verdict) for detector in detectors for f in detector.examine(views)])
    return said


def scaled(reading: Reading, factor: float) -> Reading:
    window = reading.train
    assert window is not None
    window = replace(window, mean=factor * window.mean, blocks=tuple(factor * b for b in window.blocks))
    return replace(reading, metrics={MONITOR: factor * reading.metrics[MONITOR]}, train=window)


@few
@given(CURVES, st.sampled_from([2.0**-20, 0.25, 2.0, 1024.0, 2.0**30]))
def test_another_unit_gives_the_same_verdicts(curve, factor):
    """Powers of two, so that rounding scales as well."""
    assert verdicts([scaled(r, factor) for r in curve.readings]) == verdicts(curve.readings)


@few
@given(CURVES)
def test_min_on_x_and_max_on_minus_x_decide_alike(curve):
    """Without the training loss, which has one direction only."""
    up = [replace(r, train=None) for r in curve.readings]
    down = [replace(r, metrics={MONITOR: -r.metrics[MONITOR]}) for r in up]
    assert verdicts(down, Mode.MAX) == verdicts(up)


@few
@given(CURVES, st.sampled_from([-3.0, -0.5, 0.0]))
def test_metrics_below_and_around_zero_are_read_like_any_other(curve, shift):
    """Ranks and ages know no zero; only min_delta does, and it is off here."""
    series = [RunHistory((MONITOR,)), RunHistory((MONITOR,))]
    plateau = next(d for d in default_detectors() if str(d.condition) == "plateau")
    for reading in curve.readings:
        value = reading.metrics[MONITOR]
        moved = replace(reading, metrics={MONITOR: value + shift}, train=None)
        (here,) = plateau.examine(series[0].update(replace(reading, train=None)))
        (there,) = plateau.examine(series[1].update(moved))
        if not math.isclose(here.score, here.threshold, rel_tol=1e-6):
            assert here.verdict == there.verdict


@few
@given(CURVES, st.integers(1, 38))
def test_one_nan_never_enters_a_statistic(curve, at):
    """After it, every number is what it would be had the check brought nothing."""
    gap = [r if r.check != at else replace(r, metrics={}, train=None) for r in curve.readings]
    lost = [r if r.check != at else replace(r, metrics={MONITOR: math.nan}, train=None) for r in curve.readings]
    here, there = RunHistory((MONITOR,)), RunHistory((MONITOR,))
    for one, other in zip(gap, lost, strict=True):
        (a,), (b,) = here.update(one).monitors, there.update(other).monitors
        assert repr((a.values, a.best, a.noise, a.trend)) == repr((b.values, b.best, b.noise, b.trend))


@given(st.integers(1, 12), st.floats(-1e3, 1e3))
@settings(max_examples=40, deadline=None)
def test_a_constant_metric_is_answered_once_it_is_probable_and_patience_is_over(patience, level):
    # check    0 1 2 3 …
    # bad        1 2 3 …   acts on the patience-th, or on the seventh: there the probability is 0.85
    stalls = [detector for detector in default_detectors() if str(detector.condition) == "plateau"]
    controller = DecisionEngine(replace(Settings(), policy=PRESETS["auto"].tuned(patience=patience)), stalls)
    acted = [
        check
        for check in range(max(patience, 7) + 1)
        if controller.check(Reading(check, check, check, {MONITOR: level})).action is not Action.HOLD
    ]
    assert acted == [max(patience, 7)]


@pytest.mark.parametrize("detector", default_detectors(), ids=lambda d: str(d.condition))
def test_detectors_hold_settings_and_no_memory(detector):
    before = repr(detector)
    series = RunHistory((MONITOR,))
    for reading in FAMILIES["overfitting-fast"](0).readings:
        detector.examine(series.update(reading))
    assert repr(detector) == before
    assert type(detector).__dataclass_params__.frozen
