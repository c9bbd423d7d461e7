"""The applied rate: the schedule × the scale, within the bounds, and never anything that ends a training."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.engine.bounds import bounded, check_bounds
from lightning_lr.errors import ArgumentError

RATES = st.floats(min_value=1e-12, max_value=1e3)
SCALES = st.floats(min_value=1e-9, max_value=1e9)
BOUNDS = st.tuples(st.floats(0, 1.0), st.none() | st.floats(1.0, 10.0))


@pytest.mark.parametrize(
    ("scheduled", "scale", "min_lr", "max_lr", "expected"),
    [
        pytest.param(0.1, 1.0, 0.0, None, 0.1, id="nothing asked, nothing done"),
        pytest.param(0.1, 1.0, 0.5, None, 0.1, id="min_lr does not raise the user's schedule"),
        pytest.param(0.1, 0.5, 0.0, None, 0.05, id="a cut"),
        pytest.param(0.1, 0.5, 0.08, None, 0.08, id="min_lr holds a cut"),
        pytest.param(0.1, 0.5, 0.2, None, 0.1, id="min_lr above the schedule: no cut, no raise"),
        pytest.param(1e-5, 0.5, 1e-4, None, 1e-5, id="a warm-up below min_lr is followed"),
        pytest.param(0.1, 2.0, 0.5, None, 0.2, id="min_lr has no say in a raise"),
        pytest.param(0.1, 4.0, 0.0, 0.3, 0.3, id="max_lr holds a raise"),
        pytest.param(0.1, 1.0, 0.0, 0.05, 0.05, id="max_lr holds the schedule itself"),
        pytest.param(0.1, 0.9, 0.0, 0.05, 0.9 * 0.05, id="a cut is one of what max_lr lets through"),
        pytest.param(0.0, 0.5, 0.1, None, 0.0, id="a frozen group stays frozen under a cut"),
        pytest.param(0.0, 2.0, 0.1, None, 0.0, id="and under a raise"),
        pytest.param(-0.1, 0.5, 0.1, None, -0.1, id="a schedule below zero is not ours to mend"),
        pytest.param(1e-200, 1e-200, 0.0, None, math.ulp(0.0), id="an underflow is not zero"),
        pytest.param(math.inf, 0.5, 0.0, 1.0, 0.5, id="max_lr catches infinity"),
    ],
)
def test_the_rule(scheduled: float, scale: float, min_lr: float, max_lr: float | None, expected: float) -> None:
    assert bounded(scheduled, scale, min_lr, max_lr) == expected


def test_a_schedule_that_is_not_a_number_is_left_alone_until_it_is_scaled() -> None:
    """With a scale of 1 we are not there; with another, silence would hide who did it."""
    assert math.isnan(bounded(math.nan, 1.0))
    with pytest.raises(ArgumentError, match=r"Expected a finite learning rate but nan × 0\.5 is nan\. Look at the"):
        bounded(math.nan, 0.5)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_would_end_the_training_is_refused(scale: float) -> None:
    with pytest.raises(ArgumentError, match=f"Expected a scale that is finite and above 0 but got {scale!r}"):
        bounded(0.1, scale)


def test_an_overflow_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"Expected a finite learning rate but 1e\+300 × 1e\+100 is inf\."):
        bounded(1e300, 1e100)


@pytest.mark.parametrize(
    ("min_lr", "max_lr", "message"),
    [
        (-0.1, None, r"Expected min_lr to be finite and at least 0 but got -0\.1\."),
        (math.nan, None, r"Expected min_lr to be finite and at least 0 but got nan\."),
        (0.0, 0.0, r"Expected max_lr to be finite and above 0, or None, but got 0\.0\."),
        (0.0, math.inf, r"Expected max_lr to be finite and above 0, or None, but got inf\."),
        (0.2, 0.1, r"Expected min_lr ≤ max_lr but got min_lr=0\.2 and max_lr=0\.1\."),
    ],
)
def test_bounds_that_cannot_be_kept_are_refused(min_lr: float, max_lr: float | None, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        check_bounds(min_lr, max_lr)


@given(RATES, SCALES, BOUNDS)
def test_the_applied_rate_is_positive_and_finite_and_below_max_lr(
    rate: float, scale: float, bounds: tuple[float, float | None]
) -> None:
    applied = bounded(rate, scale, *bounds)
    assert 0 < applied < math.inf
    assert bounds[1] is None or applied <= bounds[1]


@given(RATES, SCALES, BOUNDS)
def test_a_cut_never_raises_and_a_raise_never_cuts(
    rate: float, scale: float, bounds: tuple[float, float | None]
) -> None:
    before, after = bounded(rate, 1.0, *bounds), bounded(rate, scale, *bounds)
    assert after <= before if scale <= 1 else after >= before


@given(st.floats())
def test_a_scale_of_one_gives_back_the_very_same_number(rate: float) -> None:
    assert bounded(rate, 1.0) is rate
