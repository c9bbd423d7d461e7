"""Overfitting: a stall in which the metric lies above its best while training gains. Letters as in test_plateau."""

from __future__ import annotations

from random import Random

import pytest

from lightning_lr.engine.detectors.overfitting import OverfittingDetector, rise
from lightning_lr.engine.detectors.plateau import PlateauDetector
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.history.metric_history import MetricHistory
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.policies import PRESETS
from lightning_lr.engine.records import Reading, TrainWindow
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Mode
from lightning_lr.offline.curves import FAMILIES, readings_of
from lightning_lr.offline.evaluate import alarms_of

LETTER = {"no": "n", "yes": "y", "undecided": "?"}


def examined(val, train, monitor="val_loss", mode=Mode.MIN):
    """The finding of each check."""
    series, detector, found = RunHistory((monitor,), mode), OverfittingDetector(), []
    for check, (v, t) in enumerate(zip(val, train, strict=True)):
        reading = Reading(check, check, check, {monitor: v}, TrainWindow(t, (t,), 1))
        found += detector.examine(series.update(reading))
    return found


def timeline(val, train, **kwargs):
    return "".join(LETTER[str(finding.verdict)] for finding in examined(val, train, **kwargs))


FALLING = [1 / (check + 1) for check in range(24)]
VEE = [0.5 + 0.05 * abs(check - 8) for check in range(24)]


def test_it_fires_once_the_rise_is_beyond_luck():
    said = timeline(VEE, FALLING)
    assert said.startswith("n" * 9)
    assert said[14:] == "y" * 10


ROWS = [
    ("both fall", [1 / (c + 1) + 0.1 for c in range(24)], FALLING),
    ("a wide gap that is steady", [t + 10.0 for t in FALLING], FALLING),
    ("both rise: that is divergence", VEE, [0.2 + 0.05 * abs(c - 8) for c in range(24)]),
    ("training stands still: nothing is learned by heart", VEE, [0.5] * 24),
    ("one check is worse, then it is made good", [*FALLING[:15], 0.5, *FALLING[16:]], FALLING),
    ("a jump that is made good in three checks", [*FALLING[:12], 0.5, 0.3, 0.15, *FALLING[15:]], FALLING),
]


@pytest.mark.parametrize(("why", "val", "train"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_no_overfitting(why, val, train):
    assert "y" not in timeline(val, train)


def test_the_sentence_states_both_probabilities():
    assert examined(VEE, FALLING)[16].reason == (
        "val_loss has risen to 0.9 from its best 0.5 of check 8 while the training loss falls; "
        "stalled (97 % likely), by overfitting (97 % likely)"
    )
    accuracy = [0.9 - 0.02 * abs(check - 8) for check in range(24)]
    assert examined(accuracy, FALLING, monitor="val_acc", mode=Mode.MAX)[16].reason.startswith(
        "val_acc has fallen to 0.74 from its best 0.9 of check 8 while the training loss falls"
    )


def test_its_probability_is_a_part_of_that_of_a_stall():
    for finding in examined(VEE, FALLING)[5:]:
        assert 0 <= finding.probability <= finding.score


def test_without_a_training_series_the_rise_alone_tells():
    """Class: logs that hold validation alone. A rise is named overfitting; a level is not."""
    series, detector = RunHistory(("val_loss",)), OverfittingDetector()
    said = ""
    for check, value in enumerate(VEE):
        (found,) = detector.examine(series.update(Reading(check, check, check, {"val_loss": value})))
        said += LETTER[str(found.verdict)]
    assert said.endswith("yyy")


def test_the_training_loss_itself_does_not_overfit():
    series = RunHistory(("train_loss",))
    for check, value in enumerate(VEE):
        reading = Reading(check, check, check, {"train_loss": value}, TrainWindow(value, (value,), 1))
        assert OverfittingDetector().examine(series.update(reading)) == ()


def test_a_nan_passes_by():
    val = [*VEE[:12], float("nan"), *VEE[13:]]
    assert timeline(val, FALLING)[16:] == "y" * 8


@pytest.mark.parametrize("family", ["overfitting-slow", "overfitting-fast", "overfitting-noisy"])
def test_every_seeded_curve_is_found_after_its_onset(family):
    for seed in range(0, 12, 2):
        curve = FAMILIES[family](seed)
        late = [alarm for alarm in alarms_of(OverfittingDetector(), curve.readings) if alarm >= curve.onset]
        assert late[0] <= curve.onset + 35


def test_healthy_curves_are_left_alone():
    for family in ("healthy-exponential", "healthy-power", "healthy-after-spike", "healthy-annealed"):
        for seed in range(0, 10, 2):
            assert alarms_of(OverfittingDetector(), FAMILIES[family](seed).readings) == []


def test_noise_around_a_level_is_not_enough():
    """A stall in noise while training falls is overfitting by luck at one alarm of eight at most."""
    blocks, named, stalled = [[1 / (c + 1)] for c in range(60)], 0, 0
    for seed in range(30):
        rng = Random(seed)
        readings = readings_of([1.0 + 0.05 * rng.gauss(0, 1) for _ in range(60)], blocks)
        named += len(alarms_of(OverfittingDetector(), readings))
        stalled += len(alarms_of(PlateauDetector(), readings))
    assert stalled > 1000
    assert named < stalled / 8


def test_it_is_named_before_the_rise_is_beyond_luck():
    """The monitor turns and training learns on: soon after the best, no single value tells."""
    rng, train = Random(5), [1 / (check + 1) for check in range(20)]
    val = [0.5 + (0.06 if check < 6 else 0.01) * abs(check - 6) + 0.01 * rng.gauss(0, 1) for check in range(20)]
    found = examined(val, train)
    at, first = next((at, finding) for at, finding in enumerate(found) if finding.score >= 0.85)
    assert str(first.verdict) == "yes"
    assert first.evidence["rise"] < 1.0
    still = examined(val, [*train[:7], *[train[6] - 1e-4 * check for check in range(13)]])
    assert str(still[at].verdict) == "no", "training has stalled as well: a plateau"


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_rise_has_no_unit_and_no_zero(scale):
    history = MetricHistory("val_loss")
    rng = Random(1)
    for check in range(40):
        view = history.update(scale * (7 + VEE[min(check, 23)] + 0.02 * rng.gauss(0, 1)), check)
    assert rise(view) == pytest.approx(32.47, abs=0.01)


# --- the whole engine, in short runs ----------------------------------------------------------------------------------


def noise(count: int, seed: int = 0) -> list[float]:
    rng = Random(seed)
    return [rng.uniform(-1, 1) for _ in range(count)]


LEVEL = [1.0, 0.8, 0.61, *[0.9 + 0.06 * e for e in noise(17)]]
CREEP = [0.7, 0.5, 0.42, 0.4, 0.38, *[0.38 + 0.03 * step + 0.01 * e for step, e in enumerate(noise(11), 1)]]
JUMP = [0.9 - 0.06 * check for check in range(8)] + [0.62 + 0.03 * e for e in noise(10)]


def acted(val, train=True, policy="auto"):
    """The decisions of a run that is not changed by them, while training falls."""
    engine = DecisionEngine(Settings(policy=PRESETS[policy]))
    decisions = []
    for check, value in enumerate(val):
        window = TrainWindow(0.17 * 0.88**check, (0.17 * 0.88**check,), 10) if train else None
        decisions.append(engine.check(Reading(check, check, check, {"val_loss": value}, window)))
    return decisions


@pytest.mark.parametrize(("val", "best"), [(LEVEL, 2), (CREEP, 4), (JUMP, 7)], ids=["level", "creep", "jump"])
def test_a_short_run_that_overfits_early_is_not_called_healthy(val, best):
    """Class: rules that want twenty values. A level far above the best, a slow creep, a jump late in a steady fall."""
    decisions = acted(val)
    (first, *_) = (d for d in decisions if d.action is not Action.HOLD)
    assert (first.condition, first.check <= best + 9) == ("overfitting", True)
    assert not any(d.reason.startswith("not stalled") for d in decisions[best + 6 : first.check])


@pytest.mark.parametrize("val", [LEVEL, CREEP, JUMP], ids=["level", "creep", "jump"])
def test_the_training_loss_never_makes_the_answer_come_later(val):
    """Class: a rule that hands a rise to another one, which asks for more, once there is a training loss."""
    first, without = (
        next(d.check for d in acted(val, train) if d.action is not Action.HOLD) for train in (True, False)
    )
    assert first <= without
