"""The curve over the budget: a line in stairs so fine that nobody sees them, and long enough that nobody pays."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.core.annealing import STAIR, Curve

budgets = st.integers(2, 10**7)
shares = st.floats(0, 1)


@given(budget=budgets, at=shares, bent=st.none() | shares)
def test_the_multiple_stays_until_it_says_so(budget: int, at: float, bent: float | None) -> None:
    curve = Curve(first=0, budget=budget)
    if bent is not None:
        curve = curve.ending(budget, int(bent * budget))
    step = max(int(at * budget), 0 if bent is None else int(bent * budget))
    until = curve.stays_until(step)
    assert until > step
    last = min(math.ceil(until), max(budget, step + 1)) - 1
    assert curve.at(step) == curve.at((step + last) // 2) == curve.at(last)


@given(budget=budgets, at=shares)
def test_no_stair_is_higher_than_a_thousandth_of_the_rate(budget: int, at: float) -> None:
    curve, step = Curve(first=0, budget=budget, warmup=0.0), min(int(at * budget), budget - 1)
    line = min(1.0, (budget - step) / (budget / 2))
    assert line * (1 - 1 / STAIR) <= curve.at(step) <= line * (1 + 1e-12)


@pytest.mark.parametrize(
    ("budget", "times"),
    [(1000, 500), (4000, 2000), (100_000, 6563), (10_000_000, 13_221)],
)
def test_a_long_end_changes_the_rate_seldom(budget: int, times: int) -> None:
    curve, step, changes = Curve(first=0, budget=budget), budget // 2, 0
    while step < budget:
        step, changes = max(step + 1, int(curve.stays_until(step))), changes + 1
    assert changes == pytest.approx(times, abs=1)
