"""The statistics, against numbers known from elsewhere and against slower twins."""

from __future__ import annotations

import math
from random import Random
from statistics import fmean, linear_regression, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.engine.history.statistics import (
    MAD_TO_SD,
    MEAN_TO_SD,
    beyond,
    least_squares,
    mean,
    middle,
    robust_level,
    robust_noise,
    student_quantile,
    trend,
)
from lightning_lr.engine.vocabulary import Verdict

NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=64)


# From the tables of Student's t.
@pytest.mark.parametrize(
    ("confidence", "freedom", "exact"),
    [(0.95, 3, 2.353), (0.95, 5, 2.015), (0.95, 10, 1.812), (0.95, 30, 1.697), (0.975, 10, 2.228), (0.99, 20, 2.528)],
)
def test_student_quantile_is_within_a_percent_of_the_table(confidence, freedom, exact):
    assert student_quantile(confidence, freedom) == pytest.approx(exact, rel=0.01)


@given(NUMBERS)
def test_least_squares_agrees_with_the_standard_library(values):
    slope, scatter, spread = least_squares(values)
    expected = linear_regression(range(len(values)), values)
    assert slope == pytest.approx(expected.slope, rel=1e-6, abs=1e-9)
    left = [v - expected.intercept - expected.slope * i for i, v in enumerate(values)]
    assert scatter == pytest.approx(math.sqrt(sum(x * x for x in left) / (len(values) - 2)), rel=1e-4, abs=1e-4)
    assert spread == pytest.approx(sum((i - fmean(range(len(values)))) ** 2 for i in range(len(values))))


@pytest.mark.parametrize("level", [0.8, -0.1, 1e-12, 1e12, 0.0])
def test_equal_values_have_no_slope_however_they_round(level):
    assert least_squares([level] * 43)[:2] == (0.0, 0.0)


@given(NUMBERS)
def test_robust_noise_is_the_median_second_difference(values):
    bends = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    deviation = MAD_TO_SD * median(bends) or MEAN_TO_SD * fmean(bends)
    assert robust_noise(values) == pytest.approx(deviation / math.sqrt(6), rel=1e-6, abs=1e-9)


@given(NUMBERS)
def test_the_middle_is_the_median(values):
    assert middle(values) == pytest.approx(median(values))


def test_a_series_that_seldom_moves_has_some_noise():
    """An accuracy on few samples: most second differences are zero, and so is their median."""
    assert robust_noise([0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.6]) > 0
    assert robust_noise([0.5] * 7) == 0


def test_robust_noise_finds_the_deviation_and_ignores_trend_and_outliers():
    rng = Random(0)
    values = [rng.gauss(0, 2.0) - 3.0 * i for i in range(2000)]
    assert robust_noise(values) == pytest.approx(2.0, rel=0.06)
    values[100], values[500] = 1e9, -1e9
    assert robust_noise(values) == pytest.approx(2.0, rel=0.06)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_values_have_no_noise(count):
    assert math.isnan(robust_noise([1.0] * count))


def test_a_single_outlier_does_not_move_the_level():
    assert robust_level([1.0, 2.0, 3.0, 1e9])[0] == 2.5
    assert mean([1.0, 2.0, 6.0]) == 3.0


@pytest.mark.parametrize(
    ("values", "noise", "improving", "rising"),
    [
        ([], math.nan, "undecided", "undecided"),
        ([1.0], 0.1, "undecided", "undecided"),
        ([3.0, 2.0, 1.0, 0.0], math.nan, "yes", "no"),
        ([0.0, 1.0, 2.0, 3.0], math.nan, "no", "yes"),
        ([3.0, 2.0, 1.0, 0.0], 100.0, "undecided", "undecided"),  # luck does not pass for certainty
        ([1.0, 1.0, 1.0, 1.0], math.nan, "no", "no"),
    ],
)
def test_a_trend_has_three_answers(values, noise, improving, rising):
    found = trend(values, noise)
    assert (str(found.improving), str(found.rising)) == (improving, rising)


def test_pure_noise_claims_a_direction_in_one_look_in_twenty():
    rng = Random(1)
    looks = [trend([rng.gauss(0, 1) for _ in range(20)]).improving is Verdict.YES for _ in range(2000)]
    assert fmean(looks) == pytest.approx(0.05, abs=0.015)


@given(st.floats(0.001, 1e6), st.floats(0.001, 1e6))
def test_what_is_beyond_is_surely_not_so_the_other_way_round(value, reach):
    assert (beyond(value, reach) is Verdict.YES) <= (beyond(-value, reach) is Verdict.NO)
    assert beyond(0.0, reach) is Verdict.UNDECIDED
