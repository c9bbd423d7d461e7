"""The curve over the budget: a line in stairs so fine that nobody sees them, and long enough that nobody pays."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.engine import schedule
from lightning_lr.engine.schedule import ANNEAL_SHARE, STAIR, AnnealCurve

budgets = st.integers(2, 10**7)
shares = st.floats(0, 1)


@given(budget=budgets, at=shares)
def test_no_stair_is_higher_than_a_thousandth_of_the_rate(budget: int, at: float) -> None:
    curve, step = AnnealCurve(first=0, budget=budget, warmup=0.0), min(int(at * budget), budget - 1)
    line = min(1.0, (budget - step) / max(1.0, ANNEAL_SHARE * budget))
    assert line * (1 - 1 / STAIR) <= curve.at(step) <= line * (1 + 1e-12)


@pytest.mark.parametrize(
    ("budget", "times"),
    [(1000, 300), (4000, 1200), (100_000, 5875)],
)
def test_a_long_end_changes_the_rate_seldom(budget: int, times: int) -> None:
    curve = AnnealCurve(first=0, budget=budget)
    assert len({curve.at(step) for step in range(int(0.7 * budget), budget)}) == pytest.approx(times, abs=1)


@given(moves=st.lists(st.integers(-20_000, 20_000), min_size=1, max_size=300))
def test_an_end_that_moves_often_stays_a_thousandth_below_its_line(moves: list[int]) -> None:
    """As under a time limit, where each check tells the budget anew."""
    curve = line = AnnealCurve(first=0, budget=1_000_000)
    for step, move in zip(range(710_000, 940_000, 800), moves, strict=False):
        budget = max(950_000, curve.budget + move)
        curve = curve.moved_to(budget, step)
        with mock.patch.object(schedule, "STAIR", 10**9):
            line = line.moved_to(budget, step)
            on_line = line.at(step + 700)
        assert on_line * (1 - 1 / STAIR) <= curve.at(step + 700) <= on_line * (1 + 1e-9)
