"""The sweep: its rates, its end, and what is made of its losses."""

from __future__ import annotations

import math
import random

import pytest

from lightning_lr.engine.decisions import carry_out
from lightning_lr.engine.lr_search.choice import first_rate
from lightning_lr.engine.lr_search.range_test import BELOW_EDGE, BELOW_LOWEST, Sweep, suggestion
from lightning_lr.engine.records import Rate, Reading, Trial
from lightning_lr.engine.settings import Settings

SWEEP = Sweep(100)
INF, NAN = math.inf, math.nan


def trial(losses: list[float]) -> Trial:
    return Trial(tuple(map(SWEEP.rate, range(len(losses)))), tuple(losses))


def curve(start: float, noise: float, fall: float = 0.0, bends: float = 0.01, rises: float = 1.0, seed: int = 0):
    """A loss that begins to fall at one rate, in proportion to it, and to rise at another; ends as a sweep does."""
    generator, losses = random.Random(seed), []
    while not losses or not SWEEP.over(losses):
        rate = SWEEP.rate(len(losses))
        loss = start - fall * min(1.0, rate / bends) + (start * (rate / rises - 1) if rate > rises else 0.0)
        losses.append(loss + generator.gauss(0.0, noise))
    return losses


def test_its_rates_rise_at_each_step_from_end_to_end():
    rates = [SWEEP.rate(step) for step in range(100)]
    assert rates == sorted(set(rates))
    assert (rates[0], rates[-1]) == pytest.approx((1e-6, 10.0))
    assert len([rate for rate in rates if 0.01 <= rate < 0.1]) == 14, "steps a decade"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("why", "losses", "low", "high"),
    [
        ("a class loss that falls", {"start": 2.3, "noise": 0.02, "fall": 1.0, "bends": 0.1, "rises": 0.5},
         0.05 / BELOW_LOWEST, 1.0 / BELOW_LOWEST),
        ("a flat loss: the edge tells", {"start": 2.3, "noise": 0.012, "rises": 1.0},
         0.9 / BELOW_EDGE, 1.5 / BELOW_EDGE),
        ("noise that hides the fall: the edge tells", {"start": 1.0, "noise": 0.3, "fall": 0.2, "rises": 0.3},
         0.2 / BELOW_EDGE, 2.5 / BELOW_EDGE),
    ],
)  # fmt: skip
def test_what_it_suggests(why, losses, low, high, seed):
    found = suggestion(trial(curve(seed=seed, **losses)))
    assert found.rate is not None
    assert low <= found.rate <= high, why


@pytest.mark.parametrize(
    ("why", "losses", "reason"),
    [
        ("no number at all", [NAN, NAN],
         "explored: 2 rates from 1e-06 to 1.2e-06 were tried; the training steps returned no finite loss to judge a"
         " rate by; the rate stays → restore the state of the start"),
        ("flat from end to end", curve(2.3, 0.01, rises=INF),
         "explored: 100 rates from 1e-06 to 10 were tried; the loss neither fell nor rose beyond its noise, which tells"
         " nothing of the rate; the rate stays → restore the state of the start"),
    ],
)  # fmt: skip
def test_a_sweep_that_tells_nothing_leaves_the_rate(why, losses, reason):
    reading = Reading(0, 0, 100, rates={"lr-SGD": Rate(0.05, 1.0, 0.05)}, snapshot_check=-1)
    decision = carry_out(first_rate(reading, trial(losses)), Settings())
    assert decision.reason == reason, why
    assert decision.new_lr == decision.old_lr == {"lr-SGD": 0.05}


def test_a_flat_one_says_what_it_went_by():
    reading = Reading(0, 0, 100, rates={"lr-SGD": Rate(5.0, 1.0, 5.0)}, snapshot_check=-1)
    assert carry_out(first_rate(reading, trial(curve(2.3, 0.012))), Settings()).reason == (
        "explored: 100 rates from 1e-06 to 10 were tried; the loss did not fall beyond its noise, and rose from 1 on, a"
        " twentieth of it is kept → restore the state of the start, learning rate × 0.0102 (lr-SGD 5 → 0.05118)"
    )
