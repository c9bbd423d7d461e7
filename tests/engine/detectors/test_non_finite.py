"""Non-finite: NaN or infinity where a loss should be."""

from __future__ import annotations

import math

import pytest

from lightning_lr.engine.detectors.non_finite import NonFiniteDetector
from lightning_lr.engine.history.metric_history import MetricHistory
from lightning_lr.engine.records import MetricViews, TrainWindow
from lightning_lr.offline.curves import FAMILIES
from lightning_lr.offline.evaluate import alarms_of

NAN, INF = math.nan, math.inf

ROWS = [
    # why, values, sentence of each finding (none where the check says nothing)
    ("finite values", [1.0, 2.0], []),
    ("one NaN may be an accident", [1.0, NAN, 1.0], ["undecided: val_loss was not finite at 1 check in a row"]),
    (
        "two in a row are none",
        [NAN, INF],
        [
            "undecided: val_loss was not finite at 1 check in a row",
            "yes: val_loss was not finite at 2 checks in a row",
        ],
    ),
]


@pytest.mark.parametrize(("why", "values", "said"), ROWS, ids=[row[0] for row in ROWS])
def test_a_monitor(why, values, said):
    tracker, detector, heard = MetricHistory("val_loss"), NonFiniteDetector(), []
    for check, value in enumerate(values):
        found = detector.examine(MetricViews(check, (tracker.update(value, check),)))
        heard += [f"{finding.verdict}: {finding.reason}" for finding in found]
    assert heard == said


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (TrainWindow(1.0, (1.0,), 40), []),
        (
            TrainWindow(1.0, (1.0,), 40, non_finite=2),
            ["undecided: the training loss was not finite at 2 of 40 steps, and later ones were finite again"],
        ),
        (
            TrainWindow(NAN, (), 40, non_finite=40, ends_non_finite=True),
            ["yes: the training loss was not finite at 40 of 40 steps, and the last of them too"],
        ),
    ],
)
def test_the_training_window(window, said):
    found = NonFiniteDetector().examine(MetricViews(0, (), window=window))
    assert [f"{finding.verdict}: {finding.reason}" for finding in found] == said


def test_lost_weights_are_found_at_once():
    for seed in range(6):
        curve = FAMILIES["non_finite"](seed)
        assert alarms_of(NonFiniteDetector(), curve.readings)[0] == curve.onset
