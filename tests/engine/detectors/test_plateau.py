"""Plateau: no new best, and the descent has stopped.

Timelines: one letter a check; ``n`` no, ``y`` yes, ``?`` undecided.
"""

from __future__ import annotations

from random import Random

import pytest

from lightning_lr.engine.detectors.plateau import PlateauDetector, after_jump
from lightning_lr.engine.history.metric_history import MetricHistory
from lightning_lr.engine.records import MetricViews
from lightning_lr.offline.curves import after_spike, healthy, plateau
from lightning_lr.offline.evaluate import alarms_of

LETTER = {"no": "n", "yes": "y", "undecided": "?"}


def examined(series, detector=None, sign=1):
    """The finding of each check."""
    tracker, detector = MetricHistory("val_loss", sign, rel_delta=1e-3), detector or PlateauDetector()
    return [
        f for check, v in enumerate(series) for f in detector.examine(MetricViews(check, (tracker.update(v, check),)))
    ]


def timeline(series, detector=None, sign=1):
    return "".join(LETTER[str(finding.verdict)] for finding in examined(series, detector, sign))


ROWS = [
    # why, series, timeline
    ("one value is its own best", [1.0], "n"),
    ("constant from the start: each repeat counts", [1.0] * 5, "nyyyy"),
    ("constant after a descent", [3.0, 2.0, 1.0, 1.0, 1.0], "nnnyy"),
    ("constant at zero", [0.0] * 4, "nyyy"),
    ("constant and negative", [-1.0] * 4, "nyyy"),
    ("a steady descent never", [10.0 - i for i in range(30)], "n" * 30),
    ("too few values to tell", [3.0, 2.0, 2.5, 2.2], "nn??"),
    ("a NaN is no value, and what stands still goes on doing so", [1.0, 1.0, float("nan"), 1.0], "nyyy"),
    ("a new best ends it", [1.0, 1.0, 0.5, 0.5], "nyny"),
]


@pytest.mark.parametrize(("why", "series", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_timeline(why, series, expected):
    assert timeline(series) == expected
    assert timeline([-value for value in series], sign=-1) == expected


def test_the_sentence_in_both_modes():
    rows = [(1, "val_loss has had no new best for 2 checks (best 0.5 at check 1, slope +0 ± 0 a check)")]
    for sign, sentence in rows:
        assert examined([1.0, 0.5, 0.5, 0.5], sign=sign)[-1].reason == sentence
    assert examined([0.1, 0.5, 0.5, 0.49], sign=-1)[-1].reason.startswith(
        "val_loss has had no new best for 2 checks (best 0.5 at check 1, slope -0.005 ±"
    )


def test_no_sentence_about_a_slope_that_is_not_known():
    assert examined([0.0, float("nan")])[-1].reason == "val_loss has had no new best for 1 check (best 0 at check 0)"


def test_a_steady_descent_after_a_spike_is_no_plateau():
    # value   falls, jumps at check 20 by as much as it fell in the last 10, falls on at the same pace
    series = [100.0 - i + (10.0 if i >= 20 else 0.0) + 0.1 * Random(i).gauss(0, 1) for i in range(40)]
    assert "y" not in timeline(series)
    assert timeline(series).count("?") >= 8
    assert all(alarms_of(PlateauDetector(), after_spike(seed).readings) == [] for seed in range(0, 20, 2))


@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_a_real_plateau_is_found_sooner_the_calmer_the_metric(noise):
    for seed in range(0, 20, 2):
        curve = plateau(seed, noise=noise)
        alarms = alarms_of(PlateauDetector(), curve.readings)
        assert alarms
        assert curve.onset <= alarms[0] <= curve.onset + (20 if noise == 0.002 else 60)


def test_a_healthy_descent_is_left_alone():
    assert sum(bool(alarms_of(PlateauDetector(), healthy(seed).readings)) for seed in range(0, 40, 2)) == 0


def test_noise_too_large_to_tell_is_undecided_then_given_up():
    rng = Random(5)
    series = [0.0] + [1.0 + 0.2 * rng.gauss(0, 1) for _ in range(60)]
    told = timeline(series)
    assert told[:20] == "n" + "?" * 19
    assert "y" in told[20:]


def test_where_no_window_ever_fills_the_best_alone_tells():
    tracker, detector, told = MetricHistory("val_loss"), PlateauDetector(give_up=5), ""
    for check in range(14):
        view = tracker.update(1.0 if check == 0 else 2.0 + check % 2, check)
        told += LETTER[str(detector.examine(MetricViews(check, (view,)))[0].verdict)]
        tracker.restart()  # as after an adjustment at every check
    assert told == "n" + "?" * 9 + "yyyy"


def test_a_metric_that_rises_counts_as_flat():
    curve = [1 / (1 + 0.1 * i) for i in range(30)] + [0.26 + 0.01 * i for i in range(12)]
    assert timeline(curve).endswith("yy")


@pytest.mark.parametrize(
    ("values", "height", "left"),
    [
        ([3.0, 2.0, 1.0], 5.0, [3.0, 2.0, 1.0]),
        ([3.0, 2.0, 9.0, 2.0], 5.0, [2.0]),
        ([3.0, 9.0], 5.0, []),
        ([3.0, 9.0], float("nan"), [3.0, 9.0]),
        ([3.0, 9.0], 0.0, [3.0, 9.0]),
        ([9.0, 1.0], 5.0, [9.0, 1.0]),
    ],
)
def test_no_window_spans_an_upward_jump(values, height, left):
    assert list(after_jump(values, height)) == left


def test_the_window_sums_agree_with_a_plain_fit():
    """A slower twin: fit the line, draw it on, take the mean."""
    from statistics import fmean, linear_regression

    from lightning_lr.engine.detectors.plateau import AGED

    rng, detector = Random(0), PlateauDetector(clear=0.0)
    values = [1 / (1 + 0.1 * i) + 0.01 * rng.gauss(0, 1) for i in range(40)]
    found = detector.stop(values, noise=0.01)
    assert found is not None
    end, start = 40 - found.window, 40 - found.window * 4
    line = linear_regression(AGED[start:end], values[start:end])
    now = fmean(AGED[end:40])
    assert found.expected == pytest.approx(line.slope * (AGED[end - 1] - now))
    there = AGED[end - 1] + detector.share * (now - AGED[end - 1])
    height = fmean(values[end:]) - line.intercept - line.slope * there
    assert (found.score > 0) == (height > 0)
