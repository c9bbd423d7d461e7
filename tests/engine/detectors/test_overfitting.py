"""Overfitting: training improves, the held-out metric gets worse. Letters as in test_plateau."""

from __future__ import annotations

from random import Random

import pytest

from lightning_lr.engine.detectors.overfitting import OverfittingDetector, progress_quotient, rises, strip_means
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.records import Reading, TrainWindow
from lightning_lr.engine.vocabulary import Mode
from lightning_lr.offline.curves import FAMILIES, readings_of
from lightning_lr.offline.evaluate import alarms_of

LETTER = {"no": "n", "yes": "y", "undecided": "?"}


def examined(val, train, detector=None, monitor="val_loss", mode=Mode.MIN):
    """The finding of each check."""
    series, detector = RunHistory((monitor,), mode, rel_delta=1e-3), detector or OverfittingDetector()
    found = []
    for check, (v, t) in enumerate(zip(val, train, strict=True)):
        reading = Reading(check, check, check, {monitor: v}, TrainWindow(t, (t,), 1))
        found += detector.examine(series.update(reading))
    return found


def timeline(val, train, **kwargs):
    return "".join(LETTER[str(finding.verdict)] for finding in examined(val, train, **kwargs))


FALLING = [1 / (check + 1) for check in range(24)]
VEE = [0.5 + 0.05 * abs(check - 8) for check in range(24)]


def test_it_fires_once_the_rise_is_beyond_luck():
    told = timeline(VEE, FALLING)
    assert told.startswith("n" * 9)
    assert told[13:] == "y" * 11


ROWS = [
    ("both fall", [1 / (c + 1) + 0.1 for c in range(24)], FALLING),
    ("a wide gap that is steady", [t + 10.0 for t in FALLING], FALLING),
    ("both rise: that is divergence", VEE, [0.2 + 0.05 * abs(c - 8) for c in range(24)]),
    ("training stands still: nothing is learned by heart", VEE, [0.5] * 24),
    ("one check is worse, then it is made good", [*FALLING[:15], 0.5, *FALLING[16:]], FALLING),
    ("a jump that is being made good", [*FALLING[:12], *[0.5 - 0.02 * i for i in range(12)]], FALLING),
]


@pytest.mark.parametrize(("why", "val", "train"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_no_overfitting(why, val, train):
    assert "y" not in timeline(val, train)


def test_the_sentence_names_the_ways_in_both_modes():
    assert examined(VEE, FALLING)[14].reason == (
        "val_loss is 60 % above its best 0.5 of check 8 while training still improves "
        "(gap, generalization_loss, rising_strips)"
    )
    accuracy = [0.9 - 0.02 * abs(check - 8) for check in range(24)]
    assert examined(accuracy, FALLING, monitor="val_acc", mode=Mode.MAX)[16].reason == (
        "val_acc is 18 % below its best 0.9 of check 8 while training still improves (opposite_trends, rising_strips)"
    )


def test_nothing_is_said_without_a_training_series():
    series = RunHistory(("val_loss",))
    assert OverfittingDetector().examine(series.update(Reading(0, 0, 0, {"val_loss": 1.0}))) == ()


def test_a_nan_passes_by():
    val = [*VEE[:12], float("nan"), *VEE[13:]]
    assert timeline(val, FALLING)[14:] == "y" * 10


@pytest.mark.parametrize("family", ["overfitting-slow", "overfitting-fast", "overfitting-noisy"])
def test_every_seeded_curve_is_found_after_its_onset(family):
    for seed in range(0, 12, 2):
        curve = FAMILIES[family](seed)
        first = alarms_of(OverfittingDetector(), curve.readings)[0]
        assert curve.onset <= first <= curve.onset + 35


def test_healthy_curves_are_left_alone():
    for family in ("healthy-exponential", "healthy-power", "healthy-after-spike", "healthy-annealed"):
        for seed in range(0, 10, 2):
            assert alarms_of(OverfittingDetector(), FAMILIES[family](seed).readings) == []


def test_noise_around_a_level_is_not_enough():
    rng = Random(0)
    val = [1.0 + 0.05 * rng.gauss(0, 1) for _ in range(60)]
    blocks = [[1 / (c + 1)] for c in range(60)]
    assert len(alarms_of(OverfittingDetector(), readings_of(val, blocks))) == 0


@pytest.mark.parametrize(
    ("train", "expected"),
    [([1.0] * 5, float("inf")), ([1.02, 1.01, 1.0, 1.01, 1.01], 1.0), ([2.0, 1.5, 1.0, 1.0, 1.0], 10.0 / 300)],
)
def test_progress_quotient(train, expected):
    assert progress_quotient(10.0, train) == pytest.approx(expected)


def test_strips_count_back_from_the_newest():
    assert strip_means([9, 1, 3, 5, 7], 2) == [2.0, 6.0]
    assert rises([3.0, 1.0, 2.0, 4.0]) == 2
    assert rises([1.0]) == 0
