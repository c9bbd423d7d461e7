"""Divergence: ground lost for good. Letters as in test_plateau; a space where nothing is said."""

from __future__ import annotations

import pytest

from lightning_lr.engine.detectors.divergence import DivergenceDetector
from lightning_lr.engine.history.metric_history import MetricHistory
from lightning_lr.engine.records import MetricViews, TrainWindow
from lightning_lr.offline.curves import FAMILIES, divergence
from lightning_lr.offline.evaluate import alarms_of

LETTER = {"no": "n", "yes": "y", "undecided": "?"}
DOWN = [2.0, 1.8, 1.6, 1.45, 1.3, 1.2, 1.12, 1.06, 1.03, 1.0]


def examined(series):
    tracker, detector = MetricHistory("train_loss"), DivergenceDetector()
    return [detector.examine(MetricViews(c, (), blocks=tracker.update(v, c))) for c, v in enumerate(series)]


def timeline(series):
    return "".join(LETTER[str(found[0].verdict)] if found else " " for found in examined(series))


ROWS = [
    ("a rise that goes on: the second check of it", [*DOWN, 1.5, 2.0, 2.5], " " * 9 + "n?yy"),
    ("one spike of any height", [*DOWN, 50.0, 0.98, 0.97], " " * 9 + "n?nn"),
    ("two spikes in a row, the second lower: coming back", [*DOWN, 50.0, 5.0, 0.97], " " * 9 + "n??n"),
    ("it jumps and stays", [*DOWN, 2.0, 2.0, 2.0], " " * 9 + "n?yy"),
    ("a tenth of the ground is nothing", [*DOWN, 1.1, 1.1, 1.1], " " * 9 + "nnnn"),
    ("it never learned, and rises", [1.0 + 0.1 * c for c in range(13)], " " * 9 + "yyyy"),
]


@pytest.mark.parametrize(("why", "series", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_timeline(why, series, expected):
    assert timeline(series) == expected


def test_the_sentence():
    (finding,) = examined([*DOWN, 1.5, 2.0])[-1]
    assert finding.reason == "the training loss rose from 1 to 2: 100 % of all progress is lost"
    assert finding.score == pytest.approx(1.0)


def test_without_training_blocks_the_first_monitor_is_asked():
    tracker, detector = MetricHistory("val_loss"), DivergenceDetector()
    for check, value in enumerate([*DOWN, 1.5, 2.0]):
        views = MetricViews(check, (tracker.update(value, check),))
    (finding,) = detector.examine(views)
    assert finding.monitor == "val_loss"
    assert str(finding.verdict) == "yes"


def checked(levels, lucky):
    """Checks of eight blocks each around a level; in one check the last block is far below."""
    train, blocks, detector = MetricHistory("train_loss"), MetricHistory("train_loss"), DivergenceDetector()
    for check, level in enumerate(levels):
        window = [level * (1 + 0.02 * (-1) ** block) for block in range(8)]
        window[-1] *= 0.4 if check == lucky else 1
        mean = sum(window) / 8
        read = TrainWindow(mean, tuple(window), 8)
        views = MetricViews(check, (), train.update(mean, check), blocks=blocks.extend(window, check), window=read)
        yield detector.examine(views)[0] if check else None


def test_ground_is_lost_against_levels_not_against_one_lucky_block():
    """Of a loss that goes from 1.0 to 1.1 a tenth is lost, whatever one block of it said."""
    levels = [2.0, 1.5, 1.2, 1.1, 1.0, 1.0, 1.1, 1.1, 1.1]
    for lucky in (3, None):
        *_, last = checked(levels, lucky)
        assert str(last.verdict) != "yes"
        assert last.score == pytest.approx(0.12, abs=0.04)


def test_the_best_level_of_the_run_is_remembered():
    """A rise that is slower than the window of blocks is long: eight checks of eight blocks fill it."""
    levels = [2.0, 1.5, 1.2, 1.1, 1.0, *(1.0 + 0.04 * check for check in range(1, 16))]
    assert [str(found.verdict) for found in checked(levels, None) if found][-1] == "yes"


@pytest.mark.parametrize(("pace", "most"), [(0.03, 20), (0.3, 6)])
def test_every_seeded_curve_is_found_after_its_onset(pace, most):
    for seed in range(0, 12, 2):
        curve = divergence(seed, rise=pace)
        assert curve.onset <= alarms_of(DivergenceDetector(), curve.readings)[0] <= curve.onset + most


@pytest.mark.parametrize("family", ["healthy-after-spike", "loss_spike", "healthy-power-noisy"])
def test_what_comes_back_is_no_divergence(family):
    assert all(alarms_of(DivergenceDetector(), FAMILIES[family](seed).readings) == [] for seed in range(0, 20, 2))
