"""The plain recipes, as people tell them, on timelines of one check an epoch.

Rows S5 ("halve every 10 to 15 epochs until a range performs well") and S8 ("exponential decay first, lower it slightly
once learned") of what the users were promised.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.policies import PRESETS, ExponentialPolicy, HalvingPolicy
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Condition, Mode
from tests.helpers.readings import CONDITIONS, INF, NAN, Run, Says, actions

HALVE_2 = Settings(policy=HalvingPolicy(epochs=2))
DECAY = Settings(policy=ExponentialPolicy(ratio=0.81))


def halving(epochs: int) -> Settings:
    return Settings(policy=replace(PRESETS["halving"], epochs=epochs))


@pytest.mark.parametrize(
    ("why", "epochs", "values", "expected"),
    [
        # Two epochs a period; the first value of the run is what the first period is measured by.
        ("no gain: halve for ever", 2, [1, 1, 1, 1, 1, 1], ".r.r.r"),
        ("one period performs well: not yet a range", 2, [1, 0.9, 0.9, 0.9], ".r.r"),
        ("two in a row: a range, held", 2, [1, 0.9, 0.8, 0.7, 0.6, 0.5], ".r...."),
        ("held until a period no longer performs well", 2, [1, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7], ".r...r.r"),
        ("and a range can be found again", 2, [1, 0.9, 0.8, 0.7, 0.7, 0.7, 0.6, 0.5, 0.4, 0.3], ".r...r.r.."),
        ("well, not, well, well", 2, [1, 0.9, 0.9, 0.9, 0.8, 0.7, 0.6, 0.5], ".r.r.r.."),
        ("a hundredth of all gain is not well, more is", 1, [1, 0.5, 0.498, 0.4, 0.2], "rrrr."),
        ("the best of the period counts, not its last value", 2, [1, 0.5, 0.4, 0.9], ".r.."),
        ("of a loss below zero more is lost in the same way", 2, [-1, -1, -0.9, -0.8, -0.7, -0.6], ".r.r.r"),
        ("and gained", 2, [-1, -1.1, -1.2, -1.3], ".r.."),
        ("NaN in the first period does not spoil the second", 2, [NAN, NAN, 1, 0.9, 0.8, 0.7], ".r.r.."),
        ("nor does infinity", 2, [INF, NAN, 1, 0.9, 0.8, 0.7], ".r.r.."),
        ("NaN later is no gain", 2, [1, 0.9, NAN, NAN, 0.8, 0.7, 0.6, 0.5], ".r.r.r.."),
        ("only NaN", 2, [NAN] * 6, ".r.r.r"),
        ("validation at every second epoch", 2, [None, 1, None, 0.9, None, 0.8], ".r.r.."),
        ("a period of one epoch", 1, [1, 1, 1], "rrr"),
        ("as it is usually told", 10, [1.0] * 21, ".........r.........r."),
    ],
)
def test_halving(why, epochs, values, expected):
    assert actions(halving(epochs), values) == expected, why


def test_halving_more_is_better():
    settings = replace(HALVE_2, mode=Mode.MAX, monitors=("val_acc",))
    assert actions(settings, [0.5, 0.6, 0.7, 0.8, 0.8, 0.8]) == ".r...r"


@pytest.mark.parametrize(
    ("why", "epochs", "expected"),
    [
        # checks at epochs: the last epoch of a period is the one that decides, once
        ("several checks an epoch", [0, 0, 1, 1, 2, 2, 3, 3], "..r...r."),
        ("a check every second epoch", [1, 3, 5, 7], "rrrr"),
        ("a check that comes late", [0, 4, 5, 6], ".r.r"),
    ],
)
def test_the_clock_is_that_of_epochs(why, epochs, expected):
    assert actions(HALVE_2, [1.0] * len(epochs), epochs=epochs) == expected, why


@pytest.mark.parametrize(
    ("why", "epochs", "script", "expected"),
    [
        # script: y where a plateau is diagnosed; the factors in units of the ratio 0.81, whose root is 0.9
        ("decay at every epoch", 1, "nnn", [0.81, 0.81, 0.81]),
        ("slower from the first plateau on", 1, "nynn", [0.81, 0.9, 0.9, 0.9]),
        ("decay every second epoch", 2, "nnnn", [1, 0.81, 1, 0.81]),
        ("a plateau in the middle of a period is remembered", 2, "ynnn", [1, 0.9, 1, 0.9]),
        ("undecided is no plateau", 1, "uuu", [0.81, 0.81, 0.81]),
    ],
)
def test_exponential(why, epochs, script, expected):
    settings = replace(DECAY, policy=replace(DECAY.policy, epochs=epochs))
    run = Run(DecisionEngine(settings, [Says(Condition.PLATEAU, script)]))
    factors = [decision.factor for decision in run.feed([1.0] * len(script))]
    assert factors == pytest.approx(expected), why


def test_exponential_learns_of_a_plateau_from_the_metric_itself():
    run = Run(DecisionEngine(DECAY))
    run.feed([1.0, 0.9, 0.8] + [0.8] * 40)
    assert run.decisions[2].factor == pytest.approx(0.81)
    assert run.decisions[-1].factor == pytest.approx(0.9)


RECIPES = [HALVE_2, DECAY]
LONG = [1, 0.9, 0.8, 0.7, 0.7, NAN, 0.7, None, 0.6, 0.5, 0.4, 0.3]


@pytest.mark.parametrize("settings", RECIPES, ids=lambda settings: settings.policy.name)
@pytest.mark.parametrize("cooldown", [1, 5])
def test_a_recipe_knows_no_cooldown(settings, cooldown):
    patient = replace(settings, cooldown=cooldown)
    assert actions(patient, LONG) == actions(settings, LONG)


@pytest.mark.parametrize("condition", [c for c in CONDITIONS if c is not Condition.PLATEAU])
@pytest.mark.parametrize("settings", RECIPES, ids=lambda settings: settings.policy.name)
def test_a_recipe_reacts_to_no_condition_and_records_it(settings, condition):
    run = Run(DecisionEngine(settings, [Says(condition, "y" * len(LONG))]))
    run.feed(LONG)
    assert run.actions == actions(settings, LONG, detectors=[])
    assert {decision.condition for decision in run.decisions} == {condition}


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [(replace(HALVE_2, min_lr=0.05), [1.0] * 6, ".r...."), (replace(DECAY, min_lr=0.09), [1.0] * 3, "r..")],
)
def test_a_recipe_holds_at_min_lr_and_says_so(settings, values, expected):
    run = Run(DecisionEngine(settings))
    run.feed(values)
    assert run.actions == expected
    assert run.decisions[-1].reason.endswith("; every learning rate is at its bound already")
    assert run.decisions[-1].factor == 1.0
