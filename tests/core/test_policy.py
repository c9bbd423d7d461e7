"""The table of responses: presets, escalation, and the user's own numbers in it."""

from __future__ import annotations

import pytest

from lightning_lr.engine.policies.policy import ESCALATIONS, PRESETS, Policy, Response
from lightning_lr.engine.vocabulary import Action, Condition

C, REDUCE, RESTORE, STOP = Condition, Action.REDUCE, Action.RESTORE, Action.STOP


@pytest.mark.parametrize(
    ("why", "response", "failed_adjustments", "action", "factor"),
    [
        ("a cut stays a cut", Response(REDUCE, 0.5), 3, REDUCE, 0.5),
        ("however often", Response(REDUCE, 0.5), 99, REDUCE, 0.5),
        ("the first restore", Response(RESTORE, 0.3), 0, RESTORE, 0.3),
        ("the second is the same", Response(RESTORE, 0.3), 1, RESTORE, 0.3),
        ("the last that is tried", Response(RESTORE, 0.5), ESCALATIONS - 1, RESTORE, 0.5),
        ("then the end", Response(RESTORE, 0.3), ESCALATIONS, STOP, 1.0),
        ("and it stays the end", Response(RESTORE, 0.3), ESCALATIONS + 1, STOP, 1.0),
    ],
)
def test_escalation(why, response, failed_adjustments, action, factor):
    escalated = response.escalated(failed_adjustments)
    assert escalated.action is action, why
    assert escalated.factor == pytest.approx(factor), why
    assert escalated.patience == response.patience


@pytest.mark.parametrize(
    ("why", "numbers", "before", "after"),
    [
        ("nothing given, nothing changed", {}, Response(REDUCE, 0.3, 3), Response(REDUCE, 0.3, 3)),
        ("patience, where there is any", {"patience": 5}, Response(REDUCE, 0.3, 3), Response(REDUCE, 0.3, 5)),
        ("a patience of the user is all that is waited", {"patience": 5},
         Response(REDUCE, 0.3, 3, min_plateau_fraction=0.1), Response(REDUCE, 0.3, 5)),
        ("patience 1 is urgent and stays", {"patience": 5}, Response(REDUCE, 0.3, 1), Response(REDUCE, 0.3, 1)),
        ("factor", {"factor": 0.7}, Response(REDUCE, 0.3, 3), Response(REDUCE, 0.7, 3)),
        ("no restores", {"restores": False}, Response(RESTORE, 0.3, 3), Response(REDUCE, 0.3, 3)),
        ("all at once", {"patience": 2, "factor": 0.7, "restores": False}, Response(RESTORE, 0.3, 3),
         Response(REDUCE, 0.7, 2)),
    ],
)  # fmt: skip
def test_the_users_own_numbers(why, numbers, before, after):
    assert Policy("p", {C.PLATEAU: before}).tuned(**numbers).responses == {C.PLATEAU: after}, why


@pytest.mark.parametrize(
    ("condition", "action"),
    [(C.OVERFITTING, RESTORE), (C.DIVERGENCE, RESTORE), (C.NON_FINITE, RESTORE), (C.PLATEAU, REDUCE)],
)
def test_restores_are_turned_on_where_ground_was_lost(condition, action):
    policy = Policy("p", {condition: Response(REDUCE, 0.5)}).tuned(restores=True)
    assert policy.responses[condition].action is action
    assert policy.restores is (action is RESTORE)


def test_tuning_leaves_the_preset_alone():
    before = repr(PRESETS["auto"])
    PRESETS["auto"].tuned(patience=9, factor=0.9, restores=False)
    assert repr(PRESETS["auto"]) == before


@pytest.mark.parametrize(
    ("name", "condition", "response"),
    [
        ("auto", C.NON_FINITE, Response(RESTORE, 0.3)),
        ("auto", C.DIVERGENCE, Response(RESTORE, 0.3)),
        ("auto", C.OVERFITTING, Response(RESTORE, 0.1, patience=2)),
        ("auto", C.PLATEAU, Response(RESTORE, 0.3, patience=3, defer_to_scheduler=True, min_plateau_fraction=0.05)),
        ("auto", C.LOSS_SPIKE, None),
        ("conservative", C.NON_FINITE, Response(REDUCE, 0.5)),
        ("conservative", C.DIVERGENCE, Response(REDUCE, 0.5)),
        ("conservative", C.OVERFITTING, Response(REDUCE, 0.5, patience=3)),
        (
            "conservative",
            C.PLATEAU,
            Response(REDUCE, 0.5, patience=5, defer_to_scheduler=True, min_plateau_fraction=0.05),
        ),
        ("conservative", C.SLOW_PROGRESS, None),
    ],
)
def test_what_the_presets_do(name, condition, response):
    assert PRESETS[name].responses.get(condition) == response


def test_conservative_only_ever_lowers():
    assert {r.action for r in PRESETS["conservative"].responses.values()} == {REDUCE}
    assert not PRESETS["conservative"].restores


@pytest.mark.parametrize("policy", PRESETS.values(), ids=PRESETS)
def test_every_preset_is_a_table_or_a_recipe_with_sane_numbers(policy):
    assert PRESETS[policy.name] is policy
    assert bool(policy.responses) != bool(policy.recipe)
    assert all((r.factor > 1) == (r.action == "raise") for r in policy.responses.values())
    assert all(0 < r.factor <= 2 and r.patience >= 1 for r in policy.responses.values())
    assert 0 < policy.ratio < 1
    assert policy.epochs >= 1


@pytest.mark.parametrize(("name", "epochs", "ratio"), [("halving", 10, 0.5), ("exponential", 1, 0.95)])
def test_the_recipes_as_they_are_usually_told(name, epochs, ratio):
    policy = PRESETS[name]
    assert (policy.recipe, policy.epochs, policy.ratio) == (name, epochs, ratio)
