"""Divergence: ground lost for good. Letters as in test_plateau; a space where it cannot be told yet."""

from __future__ import annotations

import math
from random import Random

import pytest

from lightning_lr.engine.detectors.divergence import DivergenceDetector
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.records import Reading, TrainWindow
from lightning_lr.offline.curves import FAMILIES, divergence
from lightning_lr.offline.evaluate import alarms_of
from tests.helpers.readings import window

LETTER = {"no": "n", "yes": "y", "undecided": "?"}
DOWN = [2.0, 1.8, 1.6, 1.45, 1.3, 1.2, 1.12, 1.06, 1.03, 1.0]


def examined(train, val=None, untrained=None, monitor="val_loss", restart_at=None):
    """The finding of each check; each training loss is the level of one check, or several blocks of it."""
    history, detector, found = RunHistory((monitor,)), DivergenceDetector(), []
    for check, losses in enumerate(train):
        blocks = losses if isinstance(losses, tuple) else (losses,)
        reading = Reading(
            check,
            check,
            check,
            {} if val is None or val[check] is None else {monitor: val[check]},
            window(*blocks),
            untrained=untrained if untrained and not check else {},
        )
        found += detector.examine(history.update(reading, train_only=val is not None and val[check] is None))
        if check == restart_at:
            history.restart()
    return found


def timeline(train, val=None, **options):
    return "".join(
        " " if math.isnan(found.probability) else LETTER[str(found.verdict)]
        for found in examined(train, val, **options)
    )


ROWS = [
    ("a rise that goes on", [*DOWN, 1.6, 2.2, 2.8], "n" * 6 + "nyy"),
    ("one spike of any height", [*DOWN, 50.0, 0.98, 0.97], "n" * 6 + "nnn"),
    ("it jumps and stays", [*DOWN, 2.0, 2.0, 2.0], "n" * 6 + "nyy"),
    ("a tenth of the ground is nothing", [*DOWN, 1.1, 1.1, 1.1], "n" * 6 + "nnn"),
]


@pytest.mark.parametrize(("why", "series", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_timeline(why, series, expected):
    assert timeline(series, series) == " " * 4 + expected


def test_never_where_validation_contradicts_it():
    """Class: training alone looks worse. Validation falls on, or stays: no; with none at all it must be clearer."""
    rise = [*DOWN, 1.6, 2.2, 2.8]
    assert "y" not in timeline(rise, [0.9 * loss for loss in [*DOWN, 0.98, 0.97, 0.96]])
    assert "y" not in timeline(rise, [*DOWN, 1.0, 1.0, 1.0])
    assert "y" in timeline(rise)
    noisy = [loss + 0.05 * Random(check).gauss(0, 1) for check, loss in enumerate([*DOWN, *[1.0] * 10, 1.6, 1.7, 1.7])]
    assert timeline(noisy, noisy).count("y") > timeline(noisy).count("y")


def test_between_two_validations_an_old_value_contradicts_nothing():
    train = [*DOWN, 1.9, 3.0, 4.1, 4.5]
    assert timeline(train, [*DOWN, None, None, None, None])[-2:] == "yy"
    assert timeline(train, [*DOWN, None, None, None, 4.6])[-1] == "y"
    assert timeline(train, [*DOWN, None, None, None, 1.0])[-1] == "n"


def test_the_sentence_has_a_share_only_where_there_was_progress():
    """Class: percentages of nothing. A part, several times all, and a run that had gained nothing."""
    half = [2.0, 1.5, 1.2, 1.05, *[1.0, 1.02] * 8, 1.5, 1.6]
    assert "% of all that was gained is lost; validation agrees" in examined(half, half)[-1].reason
    (*_, twice) = examined([*DOWN, 3.5, 3.5], [*DOWN, 3.5, 3.5], untrained={"train_loss": 2.3})
    assert "times all that was gained is lost" in twice.reason
    flat = [1.0, 1.02] * 6 + [4.0, 4.0]
    assert "it had gained nothing before" in examined(flat, flat)[-1].reason
    assert all("% of all" not in found.reason for found in examined(flat, flat)[5:])


def falling_with_noise(batches, deviation, seed, checks=60):
    """A loss that only falls, by 0.3; each check the mean of some batches of that noise; validation falls smoothly."""
    rng = Random(f"{batches} {deviation} {seed}")
    for check in range(checks):
        losses = [0.4 + 0.3 * math.exp(-(check + b / batches) / 15) + rng.gauss(0, deviation) for b in range(batches)]
        yield tuple(losses), 0.45 + 0.3 * math.exp(-check / 15) + rng.gauss(0, 0.003)


@pytest.mark.parametrize("batches", [1, 2, 4, 16])
@pytest.mark.parametrize("deviation", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("validated", [True, False], ids=["validation", "training alone"])
def test_noise_as_large_as_all_progress_is_no_divergence(batches, deviation, validated):
    """Class: a baseline that noise lowers. One batch a check to sixteen, noise of a sixth of the fall to all of it."""
    for seed in range(12):
        train, val = zip(*falling_with_noise(batches, deviation, seed), strict=True)
        assert "y" not in timeline(train, val if validated else None), seed


# --- against the loss before training ---------------------------------------------------------------------------------

UNTRAINED = {"train_loss": 2.3, "val_loss": 2.3}


def test_far_above_the_loss_before_training_is_seen_at_the_first_checks():
    """Class: a rate that was far too high from the start. With blocks at once, with one level a check at the third."""
    blocks = (2.3, 9.0, 80.0, 300.0, 500.0, 620.0, 600.0, 640.0)
    assert timeline([blocks], [641.0], untrained=UNTRAINED) == "y"
    assert timeline([600.0, 640.0, 620.0], [500.0, 641.0, 600.0], untrained=UNTRAINED) == "  y"
    assert timeline([600.0, 640.0, 620.0], untrained=UNTRAINED) == "  y"
    reason = examined([blocks], [641.0], untrained=UNTRAINED)[0].reason
    assert reason.startswith("the training loss is 500, far above the 2.3 before training; validation agrees")


def test_a_little_above_it_or_only_in_training_is_not():
    warm = (2.3, 2.9, 3.4, 3.2, 2.9, 2.8, 2.7, 2.6)
    assert "y" not in timeline([warm, 2.5, 2.4, 2.2], [2.6, 2.4, 2.3, 2.2], untrained=UNTRAINED)
    assert "y" not in timeline([9.0, 9.0, 9.0], [2.1, 2.0, 1.9], untrained=UNTRAINED)
    assert "y" not in timeline([9.0, 9.0, 9.0], [2.1, 2.0, 1.9])


def test_a_loss_around_zero_is_not_measured_by_its_own_size():
    """Class: the untrained value is an accident: an objective that wanders around zero, as in reinforcement learning.

    Eight blocks a check, and one.
    """
    rng = Random(2)
    for seed in range(20):
        for blocks in (8, 1):
            levels = [tuple(rng.gauss(0, 0.5) for _ in range(blocks)) for _ in range(30)]
            assert "y" not in timeline(levels, untrained={"train_loss": 1e-3}), seed


# --- after an adjustment ----------------------------------------------------------------------------------------------


def test_after_an_adjustment_only_a_new_rise_counts():
    """What stays, or falls back, was answered; what rises further, or again from the restored state, is not."""
    risen = [*DOWN, 2.0, 2.0]
    for after, answer in (([2.0] * 6, "n"), ([1.9, 1.7, 1.5, 1.3, 1.2], "n"), ([2.1, 2.6, 3.4, 5.0, 7.0], "y")):
        assert timeline([*risen, *after], [*risen, *after], restart_at=11)[-1] == answer, after
    again = [*risen, 1.0, 1.02, 1.01, 2.4, 3.0]
    assert timeline(again, again, restart_at=11)[-1] == "y"


@pytest.mark.parametrize(("pace", "most"), [(0.03, 30), (0.3, 6)])
def test_every_seeded_curve_is_found_after_its_onset(pace, most):
    for seed in range(0, 12, 2):
        curve = divergence(seed, rise=pace)
        assert curve.onset <= alarms_of(DivergenceDetector(), curve.readings)[0] <= curve.onset + most


@pytest.mark.parametrize("family", ["healthy-after-spike", "loss_spike", "healthy-power-noisy"])
def test_what_comes_back_is_no_divergence(family):
    assert all(alarms_of(DivergenceDetector(), FAMILIES[family](seed).readings) == [] for seed in range(0, 20, 2))


def test_a_sample_of_a_few_steps_is_not_judged():
    """One batch in fifty tells no level, however far it lies from the others."""
    history, detector = RunHistory(("val_loss",)), DivergenceDetector()
    for check, loss in enumerate([*DOWN, 9.0, 9.0, 9.0]):
        read = TrainWindow(loss, (loss,), 50, sampled=1)
        assert detector.examine(history.update(Reading(check, check, check, {"val_loss": loss}, read))) == ()
