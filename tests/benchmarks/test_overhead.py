"""The short version of ``make bench-overhead``: what can be told without a clock."""

from __future__ import annotations

import pytest

from benchmarks.overhead.checks import LIMIT, FedEngine, grown_bytes, weight
from benchmarks.overhead.figures import Figure
from benchmarks.overhead.table import changes
from lightning_lr.engine.engine import DecisionEngine

MILLION = 1_000_000


def aged(checks: int) -> FedEngine:
    """A core with full windows whose run has come that far: its state is plain, and only counters know its age."""
    fed = FedEngine().run(200)
    fed.check = checks
    return fed.run(100)


def test_memory_does_not_grow_with_the_checks():
    assert grown_bytes(MILLION, checks=500) < 8 * 1024


@pytest.mark.parametrize(("monitors", "patience"), [(3, 3), (50, 3), (50, 10**6)])
def test_the_state_stays_under_64_kb(monitors, patience):
    fed = FedEngine(tuple(f"val_loss/dataloader_idx_{number}" for number in range(monitors)), patience)
    assert max(weight(fed.run(100)) for _ in range(4)) < LIMIT


def test_windows_come_back_from_a_state_whether_they_went_whole_or_as_a_difference():
    fed = aged(1_000)
    lone = fed.reading()
    # A check without the training loss: from now on a gap is no longer the difference of the newest values.
    fed.engine.check(type(lone)(lone.check, lone.epoch, lone.step, lone.metrics))
    for _ in range(2):
        state = fed.engine.state_dict()
        again = DecisionEngine(fed.engine.settings)
        again.load_state_dict(state)
        for name, gap in fed.engine.history.gaps.items():
            assert again.history.gaps[name].state == gap.state
        fed.run(100)


def test_a_figure_is_compared_with_an_earlier_one():
    earlier = {"a": {"ratio": 1.0, "low": 0.99, "high": 1.01}}
    slower = Figure("a", 1, "a step", "none", 1.2, 1.15, 1.25, 9)
    assert [sentence.rpartition(" ")[2] for sentence in changes([slower], earlier)] == ["dearer"]
    assert changes([Figure("a", 1, "a step", "none", 1.0, 0.9, 1.2, 9)], earlier) == []
