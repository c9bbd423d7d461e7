"""One reading → all the series that it speaks of."""

from __future__ import annotations

import pytest

from lightning_lr.engine.history.metric_history import MetricHistory
from lightning_lr.engine.history.run_history import RunHistory, gap_between, same_quantity
from lightning_lr.engine.records import Reading
from lightning_lr.engine.vocabulary import Mode
from tests.helpers.readings import INF, NAN, window


def reading(check: int, metrics: dict[str, float], train: float | None = None, train_metric: float | None = None):
    return Reading(check, check, check, metrics, None if train is None else window(train), train_metric)


@pytest.mark.parametrize(
    ("why", "val", "train", "gap"),
    [
        ("both are there: validation minus training", 1.5, 1.0, 0.5),
        ("validation may be the better one", 1.0, 1.5, -0.5),
        ("no validation at this check", None, 1.0, None),
        ("no training loss at this check", 1.5, None, None),
        ("neither", None, None, None),
        ("validation is not finite", NAN, 1.0, None),
        ("training is not finite", 1.5, NAN, None),
        ("two infinities have no difference", INF, INF, None),
    ],
)
def test_gap_of_one_check(why, val, train, gap):
    found = gap_between(MetricHistory("val_loss").update(val, 0), MetricHistory("train_loss").update(train, 0))
    assert found == gap, why


def test_a_gap_series_rests_where_a_side_is_missing():
    # check        0     1     2     3
    # val_loss    2.0    -    1.8   1.7
    # train_loss  1.5   1.2    -    1.0
    # gap         0.5    -     -    0.7
    series = RunHistory(("val_loss",))
    series.update(reading(0, {"val_loss": 2.0}, 1.5))
    for check, metrics, train in [(1, {}, 1.2), (2, {"val_loss": 1.8}, None)]:
        views = series.update(reading(check, metrics, train))
        assert not views.gaps["val_loss"].fresh
        assert views.gaps["val_loss"].values == (0.5,)
    views = series.update(reading(3, {"val_loss": 1.7}, 1.0))
    assert views.gaps["val_loss"].values == pytest.approx((0.5, 0.7))


@pytest.mark.parametrize(
    ("why", "monitors", "mode", "train_monitor", "with_gap"),
    [
        ("a held-out loss against the loss of training_step", ("val_loss",), Mode.MIN, None, ["val_loss"]),
        ("several held-out losses", ("val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"), Mode.MIN, None,
         ["val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"]),
        ("an accuracy has no gap to a loss", ("val_acc",), Mode.MAX, None, []),
        ("a loss that is maximized is not the training loss", ("val_loss",), Mode.MAX, None, []),
        ("an accuracy against the training accuracy", ("val/acc",), Mode.MAX, "train/acc_epoch", ["val/acc"]),
        ("an accuracy against another quantity", ("val_f1",), Mode.MAX, "train_acc", []),
        ("the training loss has no gap to itself", ("train_loss",), Mode.MIN, None, []),
    ],
)  # fmt: skip
def test_which_monitors_have_a_gap(why, monitors, mode, train_monitor, with_gap):
    assert list(RunHistory(monitors, mode, train_monitor).gaps) == with_gap, why


@pytest.mark.parametrize(
    ("monitor", "train", "mode", "same"),
    [
        ("val_loss", "train_loss", Mode.MIN, True),
        ("valid.nll_loss", "train_loss", Mode.MIN, True),  # any minimized loss is taken for the training_step's
        ("val_nll", "train_loss", Mode.MIN, False),
        ("val_nll", "train_nll", Mode.MIN, True),
        ("validation-ACC/dataloader_idx_3", "train/acc", Mode.MAX, True),
        ("value_loss", "train_loss", Mode.MAX, False),  # "value" is no word for the data
    ],
)
def test_same_quantity(monitor, train, mode, same):
    assert same_quantity(monitor, train, mode) is same


def test_the_training_series_is_absent_until_it_speaks_and_after_a_restart_until_it_speaks_again():
    series = RunHistory(("val_loss",))
    assert series.update(reading(0, {"val_loss": 1.0})).train is None
    assert series.update(reading(1, {"val_loss": 1.0}, 0.5)).train is not None
    assert series.update(reading(2, {"val_loss": 1.0})).train is not None, "its past is still of use"
    series.restart()
    assert series.update(reading(3, {"val_loss": 1.0})).train is None


def test_a_training_loss_that_is_not_finite_is_fresh_and_no_value():
    views = RunHistory(("val_loss",)).update(reading(0, {"val_loss": 1.0}, NAN))
    assert views.train is not None
    assert views.train.fresh
    assert views.train.values == ()
    assert views.train.non_finite_streak == 1


def test_the_train_monitor_takes_the_place_of_the_loss_and_has_the_mode_of_the_monitors():
    series = RunHistory(("val_acc",), Mode.MAX, "train_acc")
    views = series.update(reading(0, {"val_acc": 0.75}, train=2.3, train_metric=1.0))
    assert views.train is not None
    assert (views.train.name, views.train.value) == ("train_acc", -1.0)
    assert views.gaps["val_acc"].value == 0.25, "worse by a quarter than in training"
    assert views.blocks is not None
    assert views.blocks.values == (2.3,), "divergence still looks at the loss itself"


def test_blocks_grow_over_checks_and_are_absent_where_no_window_came():
    series = RunHistory(("val_loss",))
    series.update(Reading(0, 0, 0, {}, window(3.0, 2.0)))
    assert series.update(Reading(1, 1, 1, {})).blocks is None
    views = series.update(Reading(2, 2, 2, {}, window(1.5, NAN, 1.0)))
    assert views.blocks is not None
    assert views.blocks.values == (3.0, 2.0, 1.5, 1.0)


def test_restart_reaches_every_series():
    series = RunHistory(("val_loss", "val_loss_b"))
    metrics = {"val_loss": 2.0, "val_loss_b": 3.0}
    series.update(reading(0, metrics, 1.0))
    series.restart()
    views = series.update(reading(1, {name: value / 2 for name, value in metrics.items()}, 0.5))
    followed = [*views.monitors, views.train, views.blocks, *views.gaps.values()]
    assert [s.values for s in followed if s] == [(1.0,), (1.5,), (0.5,), (0.5,), (0.5,), (1.0,)]
    assert [s.first for s in views.monitors] == [2.0, 3.0]


def test_a_metric_that_nobody_monitors_is_not_followed():
    views = RunHistory(("val_loss",)).update(reading(0, {"val_acc": 0.5}))
    assert [s.name for s in views.monitors] == ["val_loss"]
    assert views.fresh == ()


def test_a_monitor_that_was_not_followed_before_starts_afresh():
    old, new = RunHistory(("val_loss",)), RunHistory(("val_loss", "val_loss_b"))
    old.update(reading(0, {"val_loss": 1.0}, 1.0))
    new.load_state_dict(old.state_dict())
    first, second = new.update(reading(1, {"val_loss": 2.0, "val_loss_b": 5.0}, 1.0)).monitors
    assert (first.best, first.best_check) == (1.0, 0)
    assert (second.best, second.best_check) == (5.0, 1)
