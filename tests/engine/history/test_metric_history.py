"""A series of values → level, noise, slope and best."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.engine.history.metric_history import COARSE, ROUNDING, WINDOW, MetricHistory
from lightning_lr.engine.history.statistics import SHORTEST_TREND, recent_noise, trend
from lightning_lr.engine.vocabulary import Verdict
from tests.helpers.readings import INF, NAN, values

MIN, MAX = 1, -1


def bests(tracker: MetricHistory, series: list[float | None]) -> str:
    """One letter a check: ``*`` a new best, ``.`` none, a space where nothing fresh came."""
    letters = []
    for check, value in enumerate(series):
        view = tracker.update(value, check)
        letters.append(" " if not view.fresh else "*" if view.since_best == 0 else ".")
    return "".join(letters)


@pytest.mark.parametrize(
    ("why", "sign", "min_delta", "rel_delta", "series", "expected"),
    [
        ("lower is better", MIN, 0, 0, [3, 2, 1, 2, 1], "***.."),
        ("higher is better", MAX, 0, 0, [1, 2, 3, 2, 3], "***.."),
        ("an equal value is no improvement", MIN, 0, 0, [1, 1, 1], "*.."),
        ("a gain of min_delta is not enough, more is", MIN, 0.5, 0, [3, 2.5, 2.25], "*.*"),
        ("min_delta counts from the best, so small gains add up", MIN, 0.5, 0, [3, 2.75, 2.5, 2.25], "*..*"),
        ("rel_delta is a share of the best", MIN, 0, 0.1, [1, 0.9, 0.89], "*.*"),
        ("the larger of the two deltas counts", MIN, 0.5, 0.1, [10, 9.25, 8.75], "*.*"),
        ("a negative best: worse is not better", MIN, 0, 0.1, [-1, -0.95, -1, -1.05, -1.2], "*...*"),
        ("a negative best where more is better", MAX, 0, 0.1, [-1, -1.05, -0.95, -0.8], "*..*"),
        ("a best of exactly 0 has no relative share", MIN, 0, 0.1, [1, 0, 0, 1e-9, -1e-9], "**..*"),
        ("through 0 upwards", MAX, 0, 0.1, [-1, 0, 0, 0.1], "**.*"),
        ("NaN first is not the best", MIN, 0, 0, [NAN, 2, 1], ".**"),
        ("NaN first, more is better", MAX, 0, 0, [NAN, 1, 2], ".**"),
        ("NaN between is no best and hides none", MIN, 0, 0, [2, NAN, 1], "*.*"),
        ("minus infinity is no best", MIN, 0, 0, [2, -INF, 1], "*.*"),
        ("plus infinity is no best where more is better", MAX, 0, 0, [1, INF, 2], "*.*"),
        ("nothing fresh changes nothing", MIN, 0, 0, [2, None, 1, None, 1], "* * ."),
    ],
)
def test_new_bests(why, sign, min_delta, rel_delta, series, expected):
    tracker = MetricHistory("m", sign, min_delta, rel_delta)
    assert bests(tracker, series) == expected, why


@pytest.mark.parametrize(
    ("why", "series", "since_best", "best_check", "streak"),
    [
        ("no value yet", [None, None], 0, -1, 0),
        ("a check without a value is not counted", [1, None, 2, None], 1, 0, 0),
        ("a value that is not finite is counted", [1, NAN, 2], 2, 0, 0),
        ("only values that are not finite", [NAN, INF], 2, -1, 2),
        ("a streak ends with a finite value", [1, NAN, NAN, 0.5], 0, 3, 0),
        ("a streak goes on over a check without a value", [1, NAN, None, NAN], 2, 0, 2),
    ],
)
def test_counts(why, series, since_best, best_check, streak):
    tracker = MetricHistory("m")
    for check, value in enumerate(series):
        view = tracker.update(value, check)
    assert (view.since_best, view.best_check, view.non_finite_streak) == (since_best, best_check, streak), why


@pytest.mark.parametrize("junk", [NAN, INF, -INF])
def test_a_value_that_is_not_finite_enters_no_statistic(junk):
    clean, dirty = MetricHistory("m"), MetricHistory("m")
    for check, value in enumerate([3.0, 2.5, 2.75, 2.0, 1.5, 1.75]):
        expected = clean.update(value, check)
        dirty.update(junk, check)
        found = dirty.update(value, check)
    assert (found.values, found.noise, found.trend, found.best) == (
        expected.values,
        expected.noise,
        expected.trend,
        expected.best,
    )


def test_a_fresh_value_that_is_not_finite_reads_as_nan():
    view = MetricHistory("m").update(INF, 0)
    assert math.isnan(view.value)
    assert view.fresh


def test_the_window_is_as_long_as_it_says():
    tracker = MetricHistory("m")
    for check in range(WINDOW + 10):
        view = tracker.update(float(check), check)
    assert view.values == tuple(float(check) for check in range(10, WINDOW + 10))
    assert view.first == 0.0, "the first value of the run outlives the window"


@pytest.mark.parametrize(("count", "points"), [(1, 1), (4, 4), (5, 5), (8, SHORTEST_TREND), (20, 10), (64, 32)])
def test_the_slope_rests_on_the_newer_half_but_on_five_at_least(count, points):
    tracker = MetricHistory("m")
    for check in range(count):
        view = tracker.update(1.0 / (check + 1), check)
    assert view.trend.points == points
    assert view.trend == trend(view.values[-points:], view.noise)


def test_restart_begins_new_values_and_keeps_the_best_and_the_noise():
    tracker = MetricHistory("m")
    for check, value in enumerate([3.0, 1.0, 2.0, 1.5]):
        before = tracker.update(value, check)
    tracker.restart()
    after = tracker.update(1.25, 4)
    assert after.values == (1.25,)
    assert after.recent == (*before.recent, 1.25), "noise and level of the run go on"
    assert (after.best, after.best_check, after.since_best) == (1.0, 1, 3)
    assert (after.first, after.noise) == (3.0, pytest.approx(recent_noise(after.recent)))
    assert (after.count, after.since_change) == (5, 1)
    assert after.trend.improving is Verdict.UNDECIDED, "one value has no trend"


def test_extend_takes_several_values_of_one_check():
    one, many = MetricHistory("m"), MetricHistory("m")
    for value in [3.0, 2.0, 2.5]:
        expected = one.update(value, 7)
    assert many.extend([3.0, 2.0, 2.5], 7) == expected
    assert not many.extend([], 8).fresh


def test_a_new_low_needs_no_least_gain_but_more_than_rounding():
    """The best asks for rel_delta; the low for a hundredth of the noise, and for min_delta."""
    plain, picky = MetricHistory("m", rel_delta=0.1), MetricHistory("m", min_delta=0.2)
    for check, value in enumerate([3.0, 2.0, 2.5, 1.99]):
        one, other = plain.update(value, check), picky.update(value, check)
    assert (one.best, one.low, one.low_check, one.since_low) == (2.0, 1.99, 3, 0)
    assert (other.low, other.since_low) == (2.0, 2)
    noisy = MetricHistory("m")
    for check, value in enumerate([3.0, 2.0, 2.5, 2.2, 2.6, 2.0 - 1e-6]):
        view = noisy.update(value, check)
    assert (view.low, view.since_low) == (2.0, 4)


def test_the_lowest_values_keep_their_numbers():
    tracker = MetricHistory("m")
    for check, value in enumerate([5.0, 1.0, NAN, 4.0, 3.0, 2.0, 6.0, 0.0]):
        view = tracker.update(value, check)
    assert view.lowest == ((0.0, 7), (1.0, 2), (2.0, 5), (3.0, 4), (4.0, 3))


def test_half_of_the_run_is_known_to_an_eighth():
    tracker = MetricHistory("m")
    for check in range(1000):
        view = tracker.update(1000.0 - check, check)
        if check > 16:
            assert 0.35 <= (1000 - view.half_way) / (check + 1) <= 0.55
    assert len(tracker.state.bests) <= COARSE


@pytest.mark.parametrize(("sign", "start"), [(MIN, 2.3), (MAX, 0.1)])
def test_the_value_before_training_is_taken_once(sign, start):
    tracker = MetricHistory("m", sign)
    for value in (NAN, INF, start, 9.0):
        tracker.start_at(value)
    view = tracker.update(0.5, 0)
    assert view.shown(view.start) == start
    assert view.gain == pytest.approx(max(sign * start, sign * 0.5) - sign * 0.5)


@given(st.lists(values, min_size=1, max_size=80))
def test_the_best_is_a_value_that_was_seen_and_none_is_better_but_for_rounding(series):
    tracker = MetricHistory("m")
    for check, value in enumerate(series):
        view = tracker.update(value, check)
    finite = [value for value in series if math.isfinite(value)]
    if finite:
        assert min(finite) <= view.best <= min(finite) + ROUNDING * view.gain
        assert series[view.best_check] == view.best
        assert view.gain >= 0
    else:
        assert math.isnan(view.best)
    assert view.since_best <= len(series)


@given(st.lists(values, min_size=1, max_size=40), st.sampled_from([0.0, 0.01]), st.sampled_from([0.0, 0.1]))
def test_every_best_beats_the_one_before_by_the_larger_delta(series, min_delta, rel_delta):
    tracker, best = MetricHistory("m", 1, min_delta, rel_delta), NAN
    for check, value in enumerate(series):
        view = tracker.update(value, check)
        if view.since_best == 0 and not math.isnan(best):
            assert view.best < best - max(min_delta, rel_delta * abs(best))
        best = view.best
