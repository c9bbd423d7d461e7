"""The end of a run whose budget is unknown; it is over four checks after it has begun.

One letter a check: ``.`` hold, ``a`` the end begins, ``s`` stop, ``b`` back to the best, ``r`` reduce.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.policies import PRESETS, AutoPolicy, Response
from lightning_lr.engine.policies.auto import RESPONSES
from lightning_lr.engine.records import Rate, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition
from tests.helpers.readings import Says

LETTERS = {Action.HOLD: ".", Action.REDUCE: "r", Action.RESTORE: "b", Action.STOP: "s", Action.ANNEAL: "a"}
PATIENT = Response(Action.RESTORE, 0.3, patience=3)
AUTO = Settings(policy=AutoPolicy(responses=RESPONSES | {Condition.PLATEAU: PATIENT}))
"""A plateau begins the end at the third check, so that it has a history."""
LASTS = 4


def decided(script, settings=AUTO, condition=Condition.PLATEAU, values=None, unknown=True, snapshot=0, controller=None):
    """What a detector says at each check → the decisions; the live side is played."""
    controller = controller or DecisionEngine(settings, [Says(condition, script)])
    made, ends_at = [], None
    for check in range(len(script)):
        reading = Reading(
            check, epoch=check, step=check, metrics={settings.monitors[0]: (values or [1.0] * len(script))[check]},
            rates={"lr": Rate(0.1, 1.0, 0.1)}, snapshot_check=snapshot, budget=ends_at,
            progress=None if ends_at is None else check / ends_at,
            planned_end_step=check + LASTS if unknown and ends_at is None else None,
        )  # fmt: skip
        made.append(controller.check(reading))
        if made[-1].action is Action.ANNEAL:
            ends_at = reading.planned_end_step
    return made


CONSERVATIVE = Settings(policy=PRESETS["conservative"])
NO_RESTORE = Settings(policy=AUTO.policy.tuned(restores=False))


@pytest.mark.parametrize(
    ("why", "script", "options", "expected"),
    [
        ("the third plateau in a row begins the end, and four checks later the run is over", "yyynnnn", {}, "..a...s"),
        ("it begins once", "yyyyyyy", {}, "..a..bs"),
        ("where steps are left the run is not stopped", "yyynnn", {}, "..a..."),
        ("a run that goes on is told again", "yyynnnnn", {}, "..a...ss"),
        ("a known budget is annealed by itself", "yyynnnn", {"unknown": False}, "..b...."),
        ("patience is the user's", "yynnnn", {"settings": Settings(policy=AUTO.policy.tuned(patience=2))}, ".a...s"),
        ("without restores too", "yyynnnn", {"settings": NO_RESTORE}, "..a...s"),
        ("another policy only cuts", "yyyyy", {"settings": CONSERVATIVE}, "rrrrr"),
        ("overfitting is answered as ever", "ynnnn", {"condition": Condition.OVERFITTING}, "b...."),
        ("so is divergence", "ynnn", {"condition": Condition.DIVERGENCE}, "b..."),
    ],
)
def test_when_it_begins_and_ends(why, script, options, expected):
    assert "".join(LETTERS[decision.action] for decision in decided(script, **options)) == expected, why


def test_the_move_is_audited():
    assert "the anneal of check 2 did not help: val_loss gained" in decided("yyynnn")[5].reason


def test_a_run_that_ends_clearly_worse_is_stopped_at_its_best():
    values = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.5]
    stop = decided("yyynnnn", values=values)[-1]
    assert (stop.action, stop.condition, stop.snapshot_check) == (Action.STOP, Condition.OVERFITTING, 0)
    assert stop.reason.startswith("overfitting: the budget is used up and val_loss ends at 1.5")
    assert stop.reason.endswith("→ restore the state of check 0, stop")
    assert stop.evidence


def test_the_training_loss_alone_brings_no_state_back_at_the_end():
    """It is of the steps before the state of its check: the "best" one may be worse than the last."""
    stop = decided("yyynnnn", Settings(monitors=("train_loss",)), values=[1.0] * 6 + [1.5])[-1]
    assert (stop.action, stop.snapshot_check) == (Action.STOP, None)


def test_a_value_that_is_no_number_does_not_keep_the_run_alive():
    assert decided("yyynnnn", values=[1.0] * 6 + [math.nan])[-1].action is Action.STOP


def test_a_check_between_two_validations_does_not_end_it():
    controller = DecisionEngine(AUTO, [Says(Condition.PLATEAU, "yyy")])
    decided("yyy", controller=controller)
    over = Reading(3, epoch=3, step=9, progress=1.0, budget=6, metrics={"val_loss": 1.0})
    assert controller.check(replace(over, metrics={}), train_only=True).action is Action.HOLD
    assert controller.check(replace(over, check=4)).action is Action.STOP


def test_resumed_in_its_midst():
    whole = decided("yyynnnn")
    first, second = (
        DecisionEngine(AUTO, [Says(Condition.PLATEAU, "yyynnnn")]),
        DecisionEngine(AUTO, [Says(Condition.PLATEAU, "n")]),
    )
    decided("yyyn", controller=first)
    second.load_state_dict(first.state_dict())
    last = Reading(
        6, 6, 6, {"val_loss": 1.0}, rates={"lr": Rate(0.1, 1.0, 0.1)}, snapshot_check=0, budget=6, progress=1.0
    )
    assert str(second.check(last)) == str(whole[6])
