"""Whether a run has learned anything: the difference between a state worth keeping and a lucky dead one."""

from __future__ import annotations

import random

import pytest

from lightning_lr.engine.history.learned import has_fallen
from lightning_lr.engine.history.metric_history import MetricHistory
from tests.helpers.readings import NAN


def noisy(level: float, deviation: float, count: int = 40) -> list[float]:
    generator = random.Random(7)
    return [generator.gauss(level, deviation) for _ in range(count)]


@pytest.mark.parametrize(
    ("why", "values", "expected"),
    [
        ("a steady descent", [1.0 - 0.02 * check for check in range(10)], True),
        ("the red wines, a recorded run under a one-cycle schedule",
         [1.0732, 1.0601, 1.0363, 1.0004, 0.9450, 0.8430, 0.7293], True),
        ("a dead network", noisy(2.303, 0.002), False),
        ("one that explodes, and then is dead", [87.0, *noisy(2.303, 0.002)], False),
        ("one that learns which digit is the most frequent: of a loss of 0.03 it were much",
         [2.31, 2.303, 2.29, 2.285, 2.283, 2.282], True),
        ("noise alone, of a small validation set", noisy(0.6, 0.05), False),
        ("one value", [1.0], False),
        ("values that are none", [1.0, NAN, NAN], False),
    ],
)  # fmt: skip
def test_a_monitor_that_has_fallen(why, values, expected):
    tracker = MetricHistory("val_loss")
    for check, value in enumerate(values):
        view = tracker.update(value, check)
    assert has_fallen(view) is expected, why


def test_where_higher_is_better_it_is_a_rise():
    tracker = MetricHistory("val_acc", sign=-1)
    for check in range(10):
        view = tracker.update(0.3 + 0.05 * check, check)
    assert has_fallen(view)
