"""Alarms against onsets."""

from __future__ import annotations

import math

import pytest

from lightning_lr.engine.detectors import default_detectors
from lightning_lr.offline.curves import non_finite
from lightning_lr.offline.evaluate import alarms_of, charged_delay, detection_delay, episodes, false_alarms, score

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
    assert charged_delay([3], 10, checks=60) == 50.0


def test_a_row_of_alarms_is_one_episode():
    assert episodes([]) == []
    assert episodes([0, 1, 2, 7, 8]) == [0, 7]


def test_no_runs_have_no_figures():
    empty = score([])
    assert all(math.isnan(number) for number in (empty.delay, empty.missed, empty.false_runs, empty.false_per_100))


def test_the_alarms_of_a_detector():
    curve = non_finite(seed=0)
    alarms = {str(detector.condition): alarms_of(detector, curve.readings) for detector in default_detectors()}
    assert alarms["non_finite"][0] in (curve.onset, curve.onset + 1)
    assert alarms["plateau"] == []
