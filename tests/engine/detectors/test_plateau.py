"""Plateau: next to nothing more is to be gained.

Timelines: one letter a check; ``n`` no, ``y`` yes, ``?`` undecided or not known yet.
"""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.engine.detectors.plateau import PlateauDetector
from lightning_lr.engine.history.metric_history import MetricHistory
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.history.stall import FEWEST, LONGEST_TREND, RankTrend, deviations, stall, trend_length
from lightning_lr.engine.records import MetricViews, Reading
from lightning_lr.engine.vocabulary import Mode
from lightning_lr.offline.curves import after_spike, healthy, plateau
from lightning_lr.offline.evaluate import alarms_of
from tests.helpers.readings import window

LETTER = {"no": "n", "yes": "y", "undecided": "?"}


def examined(series, sign=1, start=math.nan):
    """The finding of each check."""
    tracker, detector = MetricHistory("val_loss", sign), PlateauDetector()
    tracker.start_at(start)
    return [
        f for check, v in enumerate(series) for f in detector.examine(MetricViews(check, (tracker.update(v, check),)))
    ]


def timeline(series, sign=1, start=math.nan):
    return "".join(LETTER[str(finding.verdict)] for finding in examined(series, sign, start))


def falls_then_stays(falling, staying):
    return [3.0 - 2.0 * check / falling for check in range(falling)] + [1.0] * staying


ROWS = [
    # why, series, timeline
    ("one value is its own best", [1.0], "n"),
    ("constant from the start: nothing is known before the fifth value", [1.0] * 9, "n???" + "???yy"),
    ("constant after a descent: the longer the run, the longer it takes", falls_then_stays(8, 12), "n" * 15 + "????y"),
    ("constant and negative", [-1.0] * 9, "n??????yy"),
    ("a steady descent never", [10.0 - i for i in range(30)], "n" * 30),
    ("a new best ends it", [*[1.0] * 9, 0.5], "n??????yyn"),
    ("a NaN is no value", [*[1.0] * 8, float("nan"), 1.0], "n??????yyy"),
]


@pytest.mark.parametrize(("why", "series", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_timeline(why, series, expected):
    assert timeline(series) == expected
    assert timeline([-value for value in series], sign=-1) == expected


def test_the_sentence_in_both_modes():
    (*_, found) = examined([*[0.1 * check for check in range(6)], *[0.45, 0.44] * 6], sign=-1)
    assert found.reason == ("no new best of val_loss for 12 of 18 checks (best 0.5 at check 5); stalled (90 % likely)")
    assert found.probability == pytest.approx(0.9, abs=0.005)


def test_before_the_fifth_value_it_says_how_many_it_has():
    found = examined([1.0, 0.8, 0.9])[-1]
    assert math.isnan(found.probability)
    assert found.reason == f"cannot tell yet (3 of {FEWEST} checks)"


def test_after_an_adjustment_it_begins_anew():
    tracker, detector = MetricHistory("val_loss"), PlateauDetector()
    said = ""
    for check in range(24):
        view = tracker.update(1.0, check)
        said += LETTER[str(detector.examine(MetricViews(check, (view,)))[0].verdict)]
        if check == 9:
            tracker.restart()
    assert said == "n??????yyy" + "????" + "???yyyyyyy"


def tiny_records(check):
    """A calm descent that is over after twenty checks, but sets a record at each."""
    return 0.3 + 2.0 * math.exp(-check / 4) + 1e-4 * (60 - check)


def test_a_calm_run_that_sets_tiny_records_is_over_if_the_loss_before_training_is_known():
    """Class: a plateau that "no new best" cannot see. An exponential and a power of time that has died out."""
    series = [tiny_records(check) for check in range(60)]
    assert "y" in timeline(series, start=2.4)[:40]
    assert "y" not in timeline(series)
    found = examined(series, start=2.4)[-1]
    assert "the last half of the run brought" in found.reason


def test_a_slow_descent_is_not_over_because_it_is_slow():
    """The last half of a power of time still brings a few per cent of all its gain."""
    series = [2.3 * (1 + check) ** -0.3 for check in range(100)]
    assert "y" not in timeline(series, start=2.3)


def test_a_metric_that_rises_by_far_is_no_longer_gaining():
    curve = [1 / (1 + 0.1 * i) for i in range(20)] + [0.35 + 0.02 * i for i in range(12)]
    assert timeline(curve).endswith("yy")


@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_a_real_plateau_is_found(noise):
    for seed in range(0, 20, 2):
        curve = plateau(seed, noise=noise)
        alarms = alarms_of(PlateauDetector(), curve.readings)
        assert [alarm for alarm in alarms if curve.onset <= alarm <= curve.onset + 40]


def test_healthy_descents_are_left_alone():
    for make, most in ((healthy, 1), (after_spike, 0)):
        alarmed = [bool(alarms_of(PlateauDetector(), make(seed).readings)) for seed in range(0, 40, 2)]
        assert sum(alarmed) <= most, make.__name__


# --- a metric that moves in steps -------------------------------------------------------------------------------------


def beside(monitor, losses, loss_beside="val_loss", train=None, mode=Mode.MAX):
    """What is said at each check of a monitor of constant value, with a loss beside it."""
    history, detector = RunHistory((monitor,), mode, loss_beside=loss_beside), PlateauDetector()
    said = ""
    for check, loss in enumerate(losses):
        metrics = {monitor: 0.85, **({loss_beside: loss} if loss_beside else {})}
        reading = Reading(check, check, check, metrics, window(train[check]) if train else None)
        said += LETTER[str(detector.examine(history.update(reading))[0].verdict)]
    return said


FALLING = [1.0 - 0.01 * check for check in range(40)]


def test_an_accuracy_at_the_majority_class_has_not_stalled_while_its_loss_falls():
    """Class: a monitor whose steps hide progress. Accuracy, error rate in the mode min, and no loss but training's."""
    assert "y" not in beside("val_acc", FALLING)
    assert "y" not in beside("val_error", FALLING, mode=Mode.MIN)
    assert "y" not in beside("val_acc", [0.0] * 40, loss_beside=None, train=FALLING)


def test_it_has_once_both_have():
    assert beside("val_acc", [*FALLING, *[0.6] * 20]).endswith("yyy")
    assert "y" in beside("val_acc", FALLING, loss_beside=None)


def test_a_loss_on_other_data_tells_nothing_of_it():
    assert "y" in beside("val_acc", FALLING, loss_beside="train_loss")
    assert "y" in beside("val_acc/dataloader_idx_0", FALLING, loss_beside="val_loss/dataloader_idx_1")


# --- the rule by itself -----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=90))
def test_the_sliding_trend_agrees_with_counting_all_pairs(series):
    sliding = RankTrend()
    for count, value in enumerate(series, start=1):
        sliding.add(value, trend_length(count))
    newest = series[-trend_length(len(series)) :]
    pairs = sum((late > early) - (late < early) for at, early in enumerate(newest) for late in newest[at + 1 :])
    assert (sliding.pairs, len(sliding)) == (pairs, len(newest))


def test_a_rank_trend_is_in_deviations_of_chance():
    rng = Random(3)
    drawn = [RankTrend([rng.gauss(0, 1) for _ in range(20)]) for _ in range(2000)]
    spread = [deviations(one.pairs, 20) for one in drawn]
    assert math.sqrt(sum(z * z for z in spread) / len(spread)) == pytest.approx(1.0, abs=0.05)
    assert len(RankTrend([0.0] * 100)) == LONGEST_TREND


@given(st.integers(1, 500), st.floats(-4, 4))
def test_the_longer_there_was_no_best_the_surer(count, trend):
    since = range(0, count, max(1, count // 7))
    stated = [stall(count, count, age, age / 2, trend, math.nan).probability for age in since]
    assert all(math.isnan(p) for p in stated) if count < FEWEST else stated == sorted(stated)
