"""Loss spike: an excursion that comes back. Letters as in test_plateau; a space where nothing is said."""

from __future__ import annotations

import pytest

from lightning_lr.engine.detectors.loss_spike import LossSpikeDetector
from lightning_lr.engine.history.metric_history import MetricHistory
from lightning_lr.engine.records import MetricViews
from lightning_lr.offline.curves import FAMILIES
from lightning_lr.offline.evaluate import alarms_of

LETTER = {"no": "n", "yes": "y", "undecided": "?"}
CALM = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.1]


def examined(series):
    tracker, detector = MetricHistory("train_loss"), LossSpikeDetector()
    return [detector.examine(MetricViews(c, (), blocks=tracker.update(v, c))) for c, v in enumerate(series)]


def timeline(series):
    return "".join(LETTER[str(found[0].verdict)] if found else " " for found in examined(series))


ROWS = [
    ("noise alone", CALM, " " * 11 + "n"),
    ("up, then back: seen while both are among the newest", [*CALM, 5.0, 1.0, 1.1], " " * 11 + "n?yn"),
    ("up, and stays: the beginning of a divergence", [*CALM, 5.0, 5.0], " " * 11 + "n??"),
    ("a dip is no spike", [*CALM, 0.1, 1.0], " " * 11 + "nnn"),
]


@pytest.mark.parametrize(("why", "series", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_timeline(why, series, expected):
    assert timeline(series) == expected


def test_the_sentence():
    ((finding,),) = examined([*CALM, 5.0, 1.0])[-1:]
    assert finding.reason.startswith("the training loss jumped to 5, ")
    assert finding.reason.endswith("deviations above its median 1, and recovered")


def test_seeded_spikes_are_found_within_two_checks_and_healthy_curves_left_alone():
    for seed in range(0, 12, 2):
        spike = FAMILIES["loss_spike"](seed)
        assert spike.onset <= alarms_of(LossSpikeDetector(), spike.readings)[0] <= spike.onset + 2
        assert alarms_of(LossSpikeDetector(), FAMILIES["healthy-exponential"](seed).readings) == []
