"""A plateau is left alone while the user's schedule moves, and while it is young for the budget.

Timelines have one letter a check: ``.`` hold, ``r`` reduce.
"""

from __future__ import annotations

import pytest

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.policies.policy import PRESETS, Policy, Response
from lightning_lr.engine.records import Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition
from tests.helpers.readings import Run, Says

C = Condition
YIELDING = Response(Action.REDUCE, 0.5, patience=2, defer_to_scheduler=True)
RIPENING = Response(Action.REDUCE, 0.5, patience=2, min_plateau_fraction=0.2)
FIRM = Response(Action.REDUCE, 0.5, patience=2)
HELD = [0.1] * 8
COSINE = [0.1, 0.0962, 0.0854, 0.0691, 0.05, 0.0309, 0.0146, 0.0038]
STEPS = [0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.01]
WARMED = [0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.1, 0.1]


def run(response: Response, schedule: list[float], budget: int | None = None) -> Run:
    """A metric that never improves, and is said to stand still at each check."""
    policy = Policy("table", {C.PLATEAU: response})
    made = Run(DecisionEngine(Settings(policy=policy), [Says(C.PLATEAU, "y" * len(schedule))]), budget=budget)
    for made.lr in schedule:
        made.check(1.0)
    return made


@pytest.mark.parametrize(
    ("why", "response", "schedule", "budget", "expected"),
    [
        ("a constant rate: on the second check", YIELDING, HELD, None, ".r.r.r.r"),
        ("a schedule that falls is left to itself", YIELDING, COSINE, None, "........"),
        ("so is a warm-up, until it is over", YIELDING, WARMED, None, "....r.r."),
        ("a step: the check that sees it waits", YIELDING, STEPS, None, ".r..r.r."),
        ("a policy of the user's own need not yield", FIRM, COSINE, None, ".r.r.r.r"),
        ("a large budget: a fifth of twenty checks", RIPENING, HELD, 20, "....r.r."),
        ("a small one: patience is longer", RIPENING, HELD, 5, ".r.r.r.r"),
        ("an unknown one: patience alone", RIPENING, HELD, None, ".r.r.r.r"),
    ],
)  # fmt: skip
def test_when_it_waits(why, response, schedule, budget, expected):
    assert run(response, schedule, budget).actions == expected, why


@pytest.mark.parametrize(
    ("response", "schedule", "budget", "said"),
    [
        (YIELDING, COSINE, None, "left alone: the schedule itself is changing the rate"),
        (RIPENING, HELD, 20, "left alone: it has lasted for 5 % of the budget, of 20 %"),
    ],
)
def test_it_says_why(response, schedule, budget, said):
    assert run(response, schedule, budget).decisions[1].reason == f"plateau: val_loss is said to be so; {said}"


def test_a_new_best_begins_the_wait_anew():
    policy = Policy("table", {C.PLATEAU: RIPENING})
    made = Run(DecisionEngine(Settings(policy=policy), [Says(C.PLATEAU, "yyynyyyyy")]), budget=20)
    made.feed([1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert made.actions == ".......r."


@pytest.mark.parametrize("condition", [C.OVERFITTING, C.DIVERGENCE, C.NON_FINITE])
def test_what_loses_ground_never_waits_for_a_schedule(condition):
    for name in ("auto", "conservative"):
        response = PRESETS[name].responses[condition]
        assert (response.defer_to_scheduler, response.min_plateau_fraction) == (False, 0.0)


def test_a_budget_that_grew_makes_nobody_wait_for_what_has_passed():
    """A run that is resumed with more epochs is less far than it was."""
    policy = Policy("table", {C.PLATEAU: RIPENING, C.NON_FINITE: FIRM})
    made = Run(DecisionEngine(Settings(policy=policy), [Says(C.PLATEAU, "yyyyyyyy")]), budget=4)
    made.feed([1.0] * 4)
    made.budget = 20
    made.feed([1.0] * 4)
    assert made.actions == ".r.r.r.r"


def cut_for_ever(says: str, values: list[float], condition: Condition = C.PLATEAU) -> str:
    """What a rate is in for that is cut by nine tenths on every second check."""
    policy = Policy("table", {condition: Response(Action.REDUCE, 0.09, patience=1 if condition is C.DIVERGENCE else 2)})
    made = Run(DecisionEngine(Settings(policy=policy), [Says(condition, says)]))
    for value in values:
        made.check(value)
    return made.actions


LEARNS = [1.0, 0.9, 0.8, 0.7]
WORSE = LEARNS + [0.75] * 10
BETTER = LEARNS + [0.75] * 6 + [0.5] + [0.75] * 5
FLAT = [1.0, 0.999, *[1.0] * 10]


@pytest.mark.parametrize(
    ("why", "condition", "says", "values", "expected"),
    [
        ("less than a thousandth of the rate at the best", C.PLATEAU, "nnnnyyyyyyyyyy", WORSE, ".....r.r.r...."),
        ("so may overfitting be cut", C.OVERFITTING, "nnnnyyyyyyyyyy", WORSE, ".....r.r.r...."),
        ("a new best, and it may be cut again", C.PLATEAU, "nnnnyyyyyynyyyyy", BETTER, ".....r.r.r..r.r."),
        ("what never learned may need any rate", C.PLATEAU, "yyyyyyyyyyyy", FLAT, ".r.r.r.r.r.r"),
        ("what diverges is cut at any rate", C.DIVERGENCE, "nnnnyyyyyyyyyy", WORSE, "....rrrrrrrrrr"),
    ],
)
def test_cuts_that_brought_nothing_come_to_an_end(why, condition, says, values, expected):
    assert cut_for_ever(says, values, condition) == expected, why


def test_a_restore_without_a_snapshot_comes_to_an_end_as_well():
    policy = Policy("table", {C.PLATEAU: Response(Action.RESTORE, 0.1, patience=2)})
    made = Run(DecisionEngine(Settings(policy=policy), [Says(C.PLATEAU, "nnnn" + "y" * 10)]), snapshots=False)
    made.feed(WORSE)
    assert made.actions == ".....r.r.r...."
    assert made.decisions[-1].reason == (
        "plateau: val_loss is said to be so; left alone: the adjustments since the best amount to × 0.001, "
        "and none has brought a new one"
    )


def test_a_run_without_a_budget_ends_all_the_same():
    """The end that a plateau begins is no further cut."""
    cuts = {C.OVERFITTING: Response(Action.REDUCE, 0.01), C.PLATEAU: Response(Action.REDUCE, 0.1, patience=2)}
    settings = Settings(policy=Policy("table", cuts, anneal_on_plateau=True))
    controller = DecisionEngine(settings, [Says(C.OVERFITTING, "nnnnyynnnn"), Says(C.PLATEAU, "nnnnnnyyyy")])
    actions = [
        controller.step(Reading(check, check, check, {"val_loss": value}, planned_end_step=2 * check)).action
        for check, value in enumerate(WORSE[:10])
    ]
    assert actions.index(Action.ANNEAL) == 7
