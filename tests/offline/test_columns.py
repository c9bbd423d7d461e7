"""Steps and values of runs that were resumed: what was logged last counts."""

from __future__ import annotations

import math

import pytest

from lightning_lr.offline.logs.columns import Column, Log

NAN = math.nan

TABLE = {
    #                        as logged                                                what stands    resumed
    "in order": ([(9, 1.0), (19, 2.0)], [(9, 1.0), (19, 2.0)], 0),
    "gaps": ([(9, 1.0), (99, 2.0)], [(9, 1.0), (99, 2.0)], 0),
    "one step twice": ([(9, 1.0), (9, 2.0)], [(9, 2.0)], 0),
    "resumed before the last": ([(9, 1.0), (19, 2.0), (19, 3.0), (29, 4.0)], [(9, 1.0), (19, 3.0), (29, 4.0)], 0),
    "resumed further back": ([(9, 1.0), (19, 2.0), (29, 3.0), (19, 4.0)], [(9, 1.0), (19, 4.0)], 1),
    "resumed twice": ([(9, 1.0), (19, 2.0), (9, 3.0), (19, 4.0), (9, 5.0)], [(9, 5.0)], 2),
    "another interval after it": ([(10, 1.0), (20, 2.0), (30, 3.0), (15, 4.0)], [(10, 1.0), (15, 4.0)], 1),
    "nothing": ([], [], 0),
}


@pytest.mark.parametrize(("logged", "stands", "resumed"), TABLE.values(), ids=TABLE.keys())
def test_resumed(logged, stands, resumed):
    column = Column()
    for step, value in logged:
        column.add(step, value)
    assert (list(column), column.rewinds) == (stands, resumed)


@pytest.mark.parametrize(
    ("step", "at", "latest"), [(0, None, NAN), (9, 1.0, 1.0), (12, None, 1.0), (19, NAN, NAN), (99, None, NAN)]
)
def test_values_of_a_step(step, at, latest):
    column = Column()
    column.add(9, 1.0)
    column.add(19, NAN)
    assert column.at(step) == pytest.approx(at, nan_ok=True)
    assert column.latest(step) == pytest.approx(latest, nan_ok=True)


@pytest.mark.parametrize(("after", "upto", "values"), [(-1, 9, [0.0]), (9, 29, [1.0, 2.0]), (29, 99, []), (10, 11, [])])
def test_values_between_two_steps(after, upto, values):
    column = Column()
    for number, step in enumerate((9, 19, 29)):
        column.add(step, float(number))
    assert column.between(after, upto) == values


def test_a_run_was_resumed_as_often_as_any_of_its_metrics():
    log = Log()
    for name, step in [("a", 1), ("b", 1), ("a", 2), ("a", 1), ("b", 2)]:
        log.add(name, step, 0.0)
    assert log.restarts == 1


def test_a_resumed_run_has_one_condition_a_check():
    """The part that was lost saw a plateau at step 19, the run that stands did not."""
    log = Log()
    for tag, step in [("healthy", 9), ("plateau", 19), ("plateau", 29), ("healthy", 19), ("overfitting", 29)]:
        log.add(f"lr_controller/condition/{tag}", step, 1.0)
    log.add("lr_controller/head/condition/plateau", 9, 1.0)
    log.add("condition/mine", 9, 1.0)
    assert list(log.columns) == ["lr_controller/condition", "lr_controller/head/condition", "condition/mine"]
    seen = [(step, log.conditions[int(code)]) for step, code in log.columns["lr_controller/condition"]]
    assert seen == [(9, "healthy"), (19, "healthy"), (29, "overfitting")]
    assert log.restarts == 1
