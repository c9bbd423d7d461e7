"""Converged: said only where the rate is low, the metric flat, and there is no room; and never acted on."""

from __future__ import annotations

import random

import pytest

from lightning_lr.engine.detectors import ConvergedDetector
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.records import Rate, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Mode

RNG = random.Random(3)
NOISE = [RNG.gauss(0, 1) for _ in range(40)]
DESCENT = [max(0.5, 2 - 0.15 * check) for check in range(40)]
FLAT = [value + 0.002 * noise for value, noise in zip(DESCENT, NOISE, strict=True)]
NOISY = [value + 0.2 * noise for value, noise in zip(DESCENT, NOISE, strict=True)]
FALLS = [2 - 0.04 * check for check in range(40)]
RISES = [*DESCENT[:11], *(0.5 + 0.01 * check for check in range(29))]
LOW = [0.1] * 5 + [0.009] * 35


def reading(check, value, rate, kappa=None):
    rates = {} if rate is None else {"lr": Rate(rate, 1.0, rate)}
    probes = {} if kappa is None else {"critical_ratio": kappa}
    return Reading(check, check, 10 * check, {"val": value}, rates=rates, probes=probes)


def told(values, rates, kappa=None, mode=Mode.MIN):
    series, detector, sign = RunHistory(("val",), mode), ConvergedDetector(), -1 if mode is Mode.MAX else 1
    letters = ""
    for check, (value, rate) in enumerate(zip(values, rates, strict=True)):
        found = detector.examine(series.update(reading(check, sign * value, rate, kappa)))
        letters += {"yes": "y", "no": "n", "undecided": "?"}[str(found[0].verdict)] if found else "."
    return letters


# why, values, rates, critical ratio, the last letter, whether it ever says yes
ROWS = [
    ("low and flat", FLAT, LOW, None, "y", True),
    ("no room", FLAT, LOW, 3.0, "y", True),
    ("larger updates would pay", FLAT, LOW, 12.0, "n", False),
    ("flat, but the rate is high: its end may bring more", FLAT, [0.1] * 40, None, "n", False),
    ("the noise hides what is left", NOISY, LOW, None, "?", False),
    ("still falls", FALLS, LOW, None, "n", False),
    ("rises", RISES, LOW, None, "n", False),
    ("no rate is known", FLAT, [None] * 40, None, ".", False),
]


@pytest.mark.parametrize(("values", "rates", "kappa", "last", "ever"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_timelines(values, rates, kappa, last, ever):
    for mode in Mode:
        letters = told(values, rates, kappa, mode)
        assert (letters[-1], "y" in letters) == (last, ever), letters


def test_it_is_said_and_nothing_is_done():
    controller = DecisionEngine(Settings(monitors=("val",)), [ConvergedDetector()])
    decisions = [controller.step(reading(check, *pair)) for check, pair in enumerate(zip(FLAT, LOW, strict=True))]
    assert {decision.action for decision in decisions} == {Action.HOLD}
    assert decisions[-1].reason == (
        "converged: val is flat over 16 checks at 9 % of the highest learning rate: stopping would cost nothing"
    )
    assert decisions[-1].evidence["gain_left"] <= 0.02


def test_where_a_plateau_is_found_as_well_it_is_acted_on():
    controller = DecisionEngine(Settings(monitors=("val",)))
    exact = [*DESCENT[:11], *[0.5] * 29]
    decisions = [controller.step(reading(check, *pair)) for check, pair in enumerate(zip(exact, LOW, strict=True))]
    assert {str(d.condition) for d in decisions if d.action is not Action.HOLD} == {"plateau"}


def test_a_resumed_run_remembers_the_highest_rate():
    first, second = (DecisionEngine(Settings(monitors=("val",)), [ConvergedDetector()]) for _ in range(2))
    for check in range(20):
        first.step(reading(check, FLAT[check], LOW[check]))
    second.load_state_dict(first.state_dict())
    told_by = [[str(c.step(reading(n, FLAT[n], LOW[n])).condition) for n in range(20, 40)] for c in (first, second)]
    assert told_by[0] == told_by[1]
    assert "converged" in told_by[0]
