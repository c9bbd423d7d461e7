"""The detectors that look at what probes measured: incoherence, oscillation, slow progress, disparity of gradients."""

from __future__ import annotations

import math

import pytest

from lightning_lr.engine.detectors import default_detectors
from lightning_lr.engine.detectors.gradient_disparity import GradientDisparityDetector
from lightning_lr.engine.detectors.improving import ImprovingDetector
from lightning_lr.engine.detectors.incoherence import IncoherenceDetector
from lightning_lr.engine.detectors.oscillation import OscillationDetector
from lightning_lr.engine.detectors.slow_progress import SlowProgressDetector
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.records import Rate, Reading, TrainWindow
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Mode

LETTER = {"no": "n", "yes": "y", "undecided": "?"}
FLAT = [2.0] + [0.5 + 0.01 * (check % 2) for check in range(11)]
FALLS = [2 / (check + 1) for check in range(12)]
WOBBLE = [0.01 * (check % 3) for check in range(12)]


def reading(check, train, probes, metrics=None, rates=None):
    named = {name: values[check] for name, values in probes.items() if values[check] is not None}
    blocks = TrainWindow(train[check], (train[check],), 10)
    return Reading(check, check, 10 * check, metrics or {}, blocks, probes=named, rates=rates or {})


def timeline(detector, train, monitors=("train_loss",), **probes):
    """One letter a check; a dot where the detector does not ask."""
    series, letters = RunHistory(monitors), ""
    for check in range(len(train)):
        metrics = dict.fromkeys(monitors, 1.0)
        found = detector.examine(series.update(reading(check, train, probes, metrics)))
        letters += LETTER[str(found[0].verdict)] if found else "."
    return letters


def level(value, wobble=WOBBLE):
    return [value * (1 + w) for w in wobble]


NONE = [None] * 12

# why, detector, training loss, what the probes measured, one letter a check
ROWS = [
    ("flips stay, loss flat", IncoherenceDetector(), FLAT, {"flip_rate": level(0.08)}, "?????????nyy"),
    ("flips stay, loss falls", IncoherenceDetector(), FALLS, {"flip_rate": level(0.08)}, "?????????nnn"),
    (
        "loss falls, but the output does not move",
        IncoherenceDetector(),
        FALLS,
        {"flip_rate": level(0.08), "output_change": level(0.01)},
        "????yyyyyyyy",
    ),
    ("few flips", IncoherenceDetector(), FLAT, {"flip_rate": level(0.005)}, "nnnnnnnnnnnn"),
    ("flips that fall", IncoherenceDetector(), FLAT, {"flip_rate": [0.8**check for check in range(12)]}, None),
    ("no probe", IncoherenceDetector(), FLAT, {"flip_rate": NONE}, "............"),
    ("a check without a look", IncoherenceDetector(), FLAT, {"flip_rate": [0.08, None] * 6}, "?.?.?.?.?.y."),
    ("opposed and flat", OscillationDetector(), FLAT, {"relative_disparity": level(1.5)}, "?????????nyy"),
    ("opposed, yet it falls", OscillationDetector(), FALLS, {"relative_disparity": level(1.5)}, "?????????nnn"),
    ("no relation", OscillationDetector(), FLAT, {"relative_disparity": level(0.98)}, "nnnnnnnnnnnn"),
    (
        "opposed by luck",
        OscillationDetector(),
        FLAT,
        {"relative_disparity": [1.0, 2.0, 1.0, 1.9, 1.0, 1.8] * 2},
        None,
    ),
    ("small steps, falls", SlowProgressDetector(), FALLS, {"update_ratio": level(2e-5)}, "???yyyyyyyyy"),
    ("small steps, arrived", SlowProgressDetector(), FLAT[1:] * 2, {"update_ratio": level(2e-5) * 2}, None),
    ("sound steps", SlowProgressDetector(), FALLS, {"update_ratio": level(2e-3)}, "nnnnnnnnnnnn"),
    ("far below the best rate", SlowProgressDetector(), FALLS, {"critical_ratio": level(200)}, "??yyyyyyyyyy"),
    (
        "far below, the noise hides the loss",
        SlowProgressDetector(),
        FLAT,
        {"critical_ratio": level(200)},
        "??yyyyyyyyyy",
    ),
    ("far below, the loss rises", SlowProgressDetector(), FALLS[::-1], {"critical_ratio": level(200)}, None),
    ("near the best rate", SlowProgressDetector(), FALLS, {"critical_ratio": level(20)}, "nnnnnnnnnnnn"),
    (
        "the critical ratio outranks the small steps",
        SlowProgressDetector(),
        FALLS,
        {"critical_ratio": level(5), "update_ratio": level(2e-5)},
        "nnnnnnnnnnnn",
    ),
    ("nothing measures the room", ImprovingDetector(), FALLS, {"critical_ratio": NONE}, "............"),
]


@pytest.mark.parametrize(("why", "detector", "train", "probes", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_timelines(why, detector, train, probes, expected):
    told = timeline(detector, train, **probes)
    if expected is None:
        assert "y" not in told
    else:
        assert told == expected


@pytest.mark.parametrize(
    ("why", "kappa", "one", "other", "expected"),
    [
        ("both sets improve, and there is room", 12.0, FALLS, FALLS, ["yes", "yes"]),
        ("both improve, no room", 9.0, FALLS, FALLS, ["no", "no"]),
        ("room, one gets worse", 12.0, FALLS, FALLS[::-1], ["yes", "no"]),
    ],
)
def test_improving_is_asked_of_each_set(why, kappa, one, other, expected):
    series, detector = RunHistory(("a", "b")), ImprovingDetector()
    for check, pair in enumerate(zip(one, other, strict=True)):
        metrics = dict(zip("ab", pair, strict=True))
        probes = {"critical_ratio": level(kappa)}
        found = detector.examine(series.update(reading(check, FALLS, probes, metrics)))
    assert [str(finding.verdict) for finding in found] == expected


LONG = [2 / (check + 1) for check in range(30)]
PARTS = [1 + 0.1 * abs(check - 12) + 0.01 * (check % 2) for check in range(30)]


def test_gradients_that_part_are_overfitting_without_a_validation_set():
    told = timeline(GradientDisparityDetector(), LONG, gradient_disparity=PARTS)
    assert "y" not in told[:16]
    assert told[20:] == "y" * 10


@pytest.mark.parametrize(
    ("why", "train", "monitors", "apart"),
    [
        ("a validation set sees more", LONG, ("train_loss", "val_loss"), PARTS),
        ("a constraint is no training", LONG, ("train_loss", "val_constraint"), PARTS),
        ("nor is what was pretrained", LONG, ("pretrained_val_loss",), PARTS),
        ("they grow before half is learned", [2 - 0.02 * c for c in range(30)], ("train_loss",), PARTS),
        ("training has stopped", [0.9] + [0.3] * 29, ("train_loss",), PARTS),
        ("they come together", LONG, ("train_loss",), [2 / (c + 1) ** 0.5 for c in range(30)]),
    ],
)
def test_what_is_no_disparity(why, train, monitors, apart):
    assert "y" not in timeline(GradientDisparityDetector(), train, monitors, gradient_disparity=apart)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, -1.0, 1e150])
def test_no_value_of_a_probe_trips_a_detector(value):
    names = ("critical_ratio", "flip_rate", "output_change", "update_ratio", "relative_disparity", "gradient_disparity")
    for detector in default_detectors():
        timeline(detector, FALLS, **{name: [value] * 12 for name in names})


# --- what follows -----------------------------------------------------------------------------------------------------


def run(flips_of, policy=None, checks=60):
    """A run whose flips are a function of the learning rate; the loss is flat."""
    settings = Settings(("val_acc",), Mode.MAX) if policy is None else Settings(("val_acc",), Mode.MAX, policy)
    controller = DecisionEngine(settings, [IncoherenceDetector()])
    scale, decisions = 1.0, []
    for check in range(checks):
        probes = {"flip_rate": [flips_of(scale) * (1 + 0.05 * (check % 3))] * checks}
        rates = {"lr-SGD": Rate(0.1, scale, 0.1 * scale)}
        train = [0.5 + 0.01 * (check % 2) + (check == 0)] * checks
        decision = controller.check(reading(check, train, probes, {"val_acc": 0.9}, rates))
        scale *= decision.factor
        decisions.append(decision)
    return [d for d in decisions if d.action != "hold"], decisions


def test_it_is_reduced_until_the_flips_are_few():
    acted, _ = run(lambda scale: 0.07 * scale)
    assert [(str(d.condition), str(d.action), d.factor) for d in acted] == [("incoherence", "reduce", 0.5)] * 2
    assert "architecture" not in acted[1].reason


def test_where_reducing_does_not_help_it_stops_and_says_so():
    acted, _ = run(lambda scale: 0.08)
    assert len(acted) == 2
    assert acted[0].reason.startswith("incoherence: 8.")
    assert "the last change of the rate did not calm them, so the architecture may be at fault" in acted[1].reason
