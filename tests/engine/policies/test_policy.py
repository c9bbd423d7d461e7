"""The table of responses: presets, and the user's own numbers in it."""

from __future__ import annotations

import pytest

from lightning_lr.engine.policies import PRESETS, AutoPolicy, ExponentialPolicy, HalvingPolicy, Policy, Response
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.errors import ArgumentError

C, REDUCE, RESTORE, STOP = Condition, Action.REDUCE, Action.RESTORE, Action.STOP


@pytest.mark.parametrize(
    ("why", "numbers", "before", "after"),
    [
        ("nothing given, nothing changed", {}, Response(REDUCE, 0.3, 3), Response(REDUCE, 0.3, 3)),
        ("patience, where there is any", {"patience": 5}, Response(REDUCE, 0.3, 3), Response(REDUCE, 0.3, 5)),
        ("and where there was none", {"patience": 5}, Response(REDUCE, 0.3), Response(REDUCE, 0.3, 5)),
        ("a patience of the user is all that is waited", {"patience": 5},
         Response(REDUCE, 0.3, 3, min_plateau_fraction=0.1), Response(REDUCE, 0.3, 5)),
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
    [(C.OVERFITTING, RESTORE), (C.DIVERGENCE, RESTORE), (C.NON_FINITE, RESTORE), (C.INCOHERENCE, REDUCE)],
)
def test_restores_are_turned_on_where_ground_was_lost(condition, action):
    assert PRESETS["conservative"].tuned(restores=True).responses[condition].action is action


@pytest.mark.parametrize(
    ("name", "condition", "response"),
    [
        ("auto", C.NON_FINITE, Response(RESTORE, 0.3)),
        ("auto", C.DIVERGENCE, Response(RESTORE, 0.3)),
        ("auto", C.OVERFITTING, Response(RESTORE, 0.1)),
        ("auto", C.PLATEAU, Response(RESTORE, 0.3, defer_to_scheduler=True, min_plateau_fraction=0.05)),
        ("auto", C.LOSS_SPIKE, None),
        ("conservative", C.NON_FINITE, Response(REDUCE, 0.5)),
        ("conservative", C.DIVERGENCE, Response(REDUCE, 0.5)),
        ("conservative", C.OVERFITTING, Response(REDUCE, 0.1)),
        ("conservative", C.PLATEAU, Response(REDUCE, 0.5, defer_to_scheduler=True, min_plateau_fraction=0.05)),
        ("conservative", C.SLOW_PROGRESS, None),
    ],
)
def test_what_the_presets_do(name, condition, response):
    assert PRESETS[name].responses.get(condition) == response


def test_conservative_only_ever_lowers():
    assert {r.action for r in PRESETS["conservative"].responses.values()} == {REDUCE}
    assert not PRESETS["conservative"].restores


@pytest.mark.parametrize("policy", PRESETS.values(), ids=PRESETS)
def test_every_preset_has_sane_numbers(policy):
    assert PRESETS[policy.name] is policy
    assert bool(policy.responses) != hasattr(policy, "epochs")
    assert all((r.factor > 1) == (r.action == "raise") for r in policy.responses.values())
    assert all(0 < r.factor <= 2 and r.patience >= 1 for r in policy.responses.values())
    assert policy.max_failed_restores == 4


@pytest.mark.parametrize(("name", "epochs", "ratio"), [("halving", 10, 0.5), ("exponential", 1, 0.95)])
def test_the_policies_that_count_epochs_as_they_are_usually_given(name, epochs, ratio):
    assert (PRESETS[name].epochs, PRESETS[name].ratio) == (epochs, ratio)


def test_the_numbers_of_a_policy_are_its_arguments():
    policy = AutoPolicy(patience=6, factor=0.2, restore_best=False, max_failed_restores=2, searches=False)
    assert policy == PRESETS["auto"].tuned(patience=6, factor=0.2, restores=False).__class__(
        responses=policy.responses, restore_best_at_end=False, max_failed_restores=2, searches=False
    )
    assert policy.responses[C.PLATEAU] == Response(REDUCE, 0.2, 6, defer_to_scheduler=True)
    assert AutoPolicy(min_plateau_fraction=0.2).responses[C.PLATEAU].min_plateau_fraction == 0.2
    assert AutoPolicy(min_plateau_fraction=0.2).responses[C.DIVERGENCE].min_plateau_fraction == 0.0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: HalvingPolicy(epochs=0), "Expected `epochs` to be an integer ≥ 1 but got 0."),
        (lambda: ExponentialPolicy(ratio=1.0), "Expected `ratio` to be a number above 0 and below 1 but got 1.0."),
        (lambda: AutoPolicy(max_failed_restores=0), "Expected `max_failed_restores` to be an integer ≥ 1 but got 0."),
        (lambda: AutoPolicy(rel_delta=-0.1), "Expected `rel_delta` to be a finite number ≥ 0 but got -0.1."),
        (lambda: AutoPolicy(warmup_checks=-1), "Expected `warmup_checks` to be an integer ≥ 0 but got -1."),
        (lambda: HalvingPolicy(warmup_checks=2), "Expected no `warmup_checks` with policy 'halving' but got 2. A"),
        (lambda: AutoPolicy(patience=0), "Expected `patience` to be an integer ≥ 1 but got 0."),
        (lambda: AutoPolicy(factor=2.0), "Expected `factor` to be a number above 0 and below 1 but got 2.0."),
        (lambda: Response(REDUCE, -1.0), "Expected `factor` to be a number above 0 and below inf but got -1.0."),
        (
            lambda: HalvingPolicy(factor=0.3),
            "Expected no `factor` with policy '",
        ),
        (
            lambda: Policy("p", {C.DIVERGENCE: Response(REDUCE, 0.3)}, patience=5),
            "Expected no `patience` with policy 'p'",
        ),
        (
            lambda: AutoPolicy(min_probability=0.5),
            "Expected `min_probability` to be a number above 0.5",
        ),
        (
            lambda: AutoPolicy(factor_above_start=0),
            "Expected `factor_above_start` to be a number above 0",
        ),
        (lambda: HalvingPolicy(restore_best=True), "Expected no `restore_best` with policy '"),
        (lambda: ExponentialPolicy(patience=3), "Expected no `patience` with policy '"),
        (lambda: HalvingPolicy(responses={C.PLATEAU: Response(REDUCE, 0.5)}), "Expected no `responses` with policy '"),
    ],
)
def test_a_number_that_cannot_work_is_refused(make, said):
    with pytest.raises(ArgumentError) as caught:
        make()
    assert str(caught.value).startswith(said)


def test_conservative_asks_for_more_certainty():
    assert (PRESETS["auto"].min_probability, PRESETS["conservative"].min_probability) == (0.85, 0.9)


def test_a_patience_leaves_what_is_urgent_alone():
    assert AutoPolicy(patience=5).responses[C.DIVERGENCE].patience == 1


def test_a_policy_that_counts_epochs_restores_nothing_anyhow():
    assert PRESETS["halving"].tuned(restores=False) == PRESETS["halving"]
