"""Alarms against onsets."""

from __future__ import annotations

import math

import pytest

from lightning_lr.engine.detectors.non_finite import NonFiniteDetector
from lightning_lr.offline.curves import non_finite
from lightning_lr.offline.evaluate import (
    alarms_of,
    bootstrap,
    charged_delay,
    delay_at,
    detection_delay,
    episodes,
    false_alarms,
    score,
)

# (alarms, onset) → delay, false alarms: one row a reason
ROWS = [
    ([], None, math.nan, []),  # healthy and silent
    ([4], None, math.nan, [4]),  # healthy: every alarm is false
    ([], 10, math.nan, []),  # missed
    ([10], 10, 0.0, []),  # at the onset itself
    ([13, 14], 10, 3.0, []),  # the first one counts
    ([9], 10, math.nan, [9]),  # one check early is false, and the onset is missed
    ([9, 12], 10, 2.0, [9]),  # an early alarm does not hide a later one
]


@pytest.mark.parametrize(("alarms", "onset", "delay", "false"), ROWS)
def test_delay_and_false_alarms(alarms, onset, delay, false):
    assert detection_delay(alarms, onset) == pytest.approx(delay, nan_ok=True)
    assert false_alarms(alarms, onset) == false


def test_a_missed_onset_is_charged_with_all_that_was_left():
    assert charged_delay([], 10, checks=60) == 50.0
    assert charged_delay([3], 10, checks=60) == 50.0


def test_a_row_of_alarms_is_one_episode():
    assert episodes([]) == []
    assert episodes([0, 1, 2, 7, 8]) == [0, 7]


def test_no_runs_have_no_figures():
    empty = score([])
    assert all(math.isnan(number) for number in (empty.delay, empty.missed, empty.false_runs, empty.false_per_100))


def test_the_score_speaks_in_one_sentence():
    assert str(score([([12], 10, 60), ([], None, 40)])) == (
        "delay 2 checks, 0 % missed, false alarms in 0 % of 2 runs (0 in 100 checks)"
    )


def test_a_detector_and_a_plain_function_are_judged_alike():
    curve = non_finite(seed=0)

    def plain(readings):
        return [r.check for r in readings if not math.isfinite(r.metrics["val_loss"])]

    assert alarms_of(NonFiniteDetector(streak=1), curve.readings) == alarms_of(plain, curve.readings)
    assert alarms_of(plain, curve.readings)[0] == curve.onset


def test_bootstrap_is_seeded_and_covers_the_mean():
    values = [float(i % 7) for i in range(100)]
    low, high = bootstrap(values)
    assert (low, high) == bootstrap(values)
    assert low < sum(values) / 100 < high


def test_delay_at_interpolates_between_settings_that_exist_and_never_beyond():
    curve = [(0.4, 2.0), (0.2, 6.0), (0.1, 10.0)]
    assert delay_at(curve, 0.15) == pytest.approx(8.0)
    assert delay_at(curve, 0.9) == 2.0
    assert delay_at(curve, 0.05) == math.inf
