"""The spine: one reading in, one decision out.

Timelines have one letter a check: ``.`` hold, ``r`` reduce, ``b`` back to the best (restore), ``s`` stop. Scripts of
what a detector says have ``y`` yes, ``n`` no, ``u`` undecided, ``-`` could not ask.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.engine.decisions import evidence_of
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.policies import PRESETS, Policy, Response
from lightning_lr.engine.records import Diagnosis, Finding, Rate, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Mode, Verdict, Vote
from lightning_lr.errors import StateError
from tests.helpers.readings import INF, NAN, Run, Says, actions, few, reading_lists, settings_of, swapped

C = Condition
TABLE = {
    C.PLATEAU: Response(Action.REDUCE, 0.5, patience=3),
    C.OVERFITTING: Response(Action.RESTORE, 0.1, patience=2),
    C.DIVERGENCE: Response(Action.RESTORE, 0.5),
}
SETTINGS = Settings(policy=Policy("table", TABLE))


def run(script: str, condition: Condition = C.PLATEAU, settings: Settings = SETTINGS, **options) -> Run:
    """A run in which one detector says what the script says, and the metric never improves."""
    made = Run(DecisionEngine(settings, [Says(condition, script)]), **options)
    made.feed([1.0] * len(script))
    return made


@pytest.mark.parametrize(
    ("why", "condition", "script", "expected"),
    [
        ("healthy: hold", C.PLATEAU, "nnn", "..."),
        ("patience 3 acts on the third", C.PLATEAU, "yyyy", "..r."),
        ("and every third from then on, before it has learned", C.PLATEAU, "yyyyyy", "..r..r"),
        ("ruled out in between: begin anew", C.PLATEAU, "yynyyy", ".....r"),
        ("undecided counts and never acts", C.PLATEAU, "uuuuy", "....r"),
        ("validation at every second check", C.PLATEAU, "y-y-y", "....r"),
        ("overfitting restores on the second", C.OVERFITTING, "yyyy", ".b.b"),
        ("divergence restores at once", C.DIVERGENCE, "ny", ".b"),
        ("what is not in the table is left alone", C.LOSS_SPIKE, "yyyy", "...."),
    ],
)
def test_the_table_is_followed(why, condition, script, expected):
    assert run(script, condition).actions == expected, why


# --- what a decision holds --------------------------------------------------------------------------------------------


def test_a_hold_changes_nothing():
    (decision,) = run("n").decisions
    assert (decision.action, decision.factor, decision.snapshot_check) == (Action.HOLD, 1.0, None)
    assert decision.old_lr == decision.new_lr == {"lr-SGD": 0.1}


def test_a_reduction_names_the_rates_of_each_group_before_and_after():
    settings = replace(SETTINGS, min_lr=(0.0, 0.08))
    decision = run("yyy", settings=settings, groups=("a", "b")).decisions[-1]
    assert (decision.old_lr, decision.new_lr) == ({"a": 0.1, "b": 0.1}, {"a": 0.05, "b": 0.08})
    assert decision.factor == 0.5, "the scale moves as a whole; the bound holds the rate of the group"


def test_a_restore_names_the_check_whose_state_comes_back():
    made = Run(DecisionEngine(SETTINGS, [Says(C.OVERFITTING, "nnnyy")]))
    made.feed([1.0, 0.5, 0.9, 0.9, 0.9])
    assert made.decisions[-1].snapshot_check == 1


@pytest.mark.parametrize(
    ("why", "condition", "findings", "names"),
    [
        ("one monitor: plain names", C.PLATEAU, [(C.PLATEAU, "a")], {"score", "threshold", "slope"}),
        ("several monitors: name/monitor", C.PLATEAU, [(C.PLATEAU, "a"), (C.PLATEAU, "b")],
         {"score/a", "threshold/a", "slope/a", "score/b", "threshold/b", "slope/b"}),
        ("what was outranked is left out", C.PLATEAU, [(C.PLATEAU, "a"), (C.LOSS_SPIKE, "a")],
         {"score", "threshold", "slope"}),
        ("healthy: name/condition/monitor of all", C.HEALTHY, [(C.PLATEAU, "a"), (C.LOSS_SPIKE, "a")],
         {"score/plateau/a", "threshold/plateau/a", "slope/plateau/a",
          "score/loss_spike/a", "threshold/loss_spike/a", "slope/loss_spike/a"}),
        ("nobody was asked", C.HEALTHY, [], set()),
    ],
)  # fmt: skip
def test_names_of_the_evidence(why, condition, findings, names):
    made = tuple(Finding(c, Verdict.YES, monitor, 2, 1, "", {"slope": 0.5}) for c, monitor in findings)
    evidence = evidence_of(Diagnosis(condition, made, ""))
    assert set(evidence) == names, why
    assert {type(number) for number in evidence.values()} <= {float}


# --- escalation -------------------------------------------------------------------------------------------------------


def test_restores_that_bring_no_new_best_end_in_a_stop():
    # check     0  1  2  3  4  5
    # value     1  2  2  2  2  2
    # action    .  b  b  b  b  s
    # factor       ½  ½  ½  ½
    made = Run(DecisionEngine(SETTINGS, [Says(C.DIVERGENCE, "nyyyyy")]))
    made.feed([1.0] + [2.0] * 5)
    assert made.actions == ".bbbbs"
    assert [decision.factor for decision in made.decisions] == pytest.approx([1, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 1])
    assert [re.sub(r"learning rate.*", "…", decision.reason) for decision in made.decisions[1:]] == [
        "divergence: val_loss is said to be so → restore the state of check 0, …",
        "divergence: val_loss is said to be so; 1 restore brought no new best → restore the state of check 0, …",
        "divergence: val_loss is said to be so; 2 restores brought no new best → restore the state of check 0, …",
        "divergence: val_loss is said to be so; 3 restores brought no new best → restore the state of check 0, …",
        "divergence: val_loss is said to be so; 4 restores brought no new best → restore the state of check 0, stop",
    ]


@pytest.mark.parametrize(
    ("why", "condition", "stops", "expected"),
    [
        (
            "nothing is left to gain by cutting further, and the run keeps its epochs",
            C.OVERFITTING,
            False,
            "..b.b.b....b........",
        ),
        ("a policy may say that it ends there", C.OVERFITTING, True, "..b.b.b....b.s.s.s.s"),
        ("what is lost at each step is answered to the end", C.DIVERGENCE, False, ".bbbbbbbbbbb"),
        ("by the policy's word it ends as well", C.DIVERGENCE, True, ".bbbbsssssss"),
    ],
)
def test_a_known_budget_is_trained_to_its_end_whatever_is_restored_in_vain(why, condition, stops, expected):
    policy = Policy("table", TABLE, stops=stops)
    made = Run(DecisionEngine(Settings(policy=policy), [Says(condition, "n" + "y" * 19)]), budget=100)
    made.feed([1.0] + [2.0] * (len(expected) - 1))
    assert made.actions == expected, why


def test_a_new_best_ends_the_escalation():
    # value     1  2  2  ½  2  2
    # action    .  b  b  .  b  b
    made = Run(DecisionEngine(SETTINGS, [Says(C.DIVERGENCE, "nyynyy")]))
    made.feed([1.0, 2.0, 2.0, 0.5, 2.0, 2.0])
    assert made.actions == ".bb.bb"
    assert [decision.factor for decision in made.decisions] == pytest.approx([1, 1 / 2, 1 / 2, 1, 1 / 2, 1 / 2])


def test_a_restore_never_resets_the_memory_of_the_best():
    # Else the state that was restored would be "a new best" again and again, and the loop would never end.
    made = Run(DecisionEngine(SETTINGS, [Says(C.DIVERGENCE, "nynnn")]))
    for value in [1.0, 2.0, 1.0, 1.5]:
        made.check(value)
        view = made.controller.views.monitors[0]
        assert (view.best, view.best_check) == (1.0, 0)
    assert made.controller.failed_restores == 1
    assert not made.controller.is_best


def test_without_a_snapshot_there_is_nothing_to_escalate_to():
    made = run("yyyyyyyy", C.DIVERGENCE, snapshots=False)
    assert made.actions == "rrrrrrrr"
    assert {decision.factor for decision in made.decisions} == {0.5}
    assert all("no snapshot: cut without restore" in decision.reason for decision in made.decisions)


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_at_min_lr_it_holds_says_so_and_goes_on_counting():
    made = run("yyyyyyyyy", settings=replace(SETTINGS, min_lr=0.05))
    assert made.actions == "..r......"
    assert made.decisions[2].new_lr == {"lr-SGD": 0.05}
    assert made.decisions[5].reason.endswith(
        "the reduction of check 2 did not help: val_loss gained 0 a check before, 0 since (3 checks)"
    )
    for decision in made.decisions[6:]:
        assert decision.reason == "plateau: val_loss is said to be so; every learning rate is at its bound already"
        assert decision.factor == 1.0
    assert made.scale == 0.5, "the scale does not run away below the bound"


def test_a_restore_at_min_lr_restores_and_leaves_the_scale_alone():
    made = Run(DecisionEngine(replace(SETTINGS, min_lr=0.1), [Says(C.DIVERGENCE, "nyy")]))
    made.feed([1.0, 2.0, 2.0])
    assert made.actions == ".bb"
    assert made.scale == 1.0
    assert "× " not in made.decisions[-1].reason


def test_one_group_with_room_is_enough_to_move():
    made = run("yyyyyy", settings=replace(SETTINGS, min_lr=(0.1, 0.0)), groups=("held", "free"))
    assert made.actions == "..r..r"
    assert made.decisions[-1].new_lr == {"held": 0.1, "free": 0.025}


@given(st.floats(1e-6, 10), st.floats(1e-6, 1), st.floats(0, 1), st.floats(1, 100))
def test_no_decision_foretells_a_rate_beyond_the_bounds(scheduled, scale, min_lr, max_lr):
    controller = DecisionEngine(replace(SETTINGS, min_lr=min_lr, max_lr=max_lr), [Says(C.DIVERGENCE, "y")])
    decision = controller.check(Reading(0, 0, 0, {"val_loss": 1.0}, rates={"a": Rate(scheduled, scale, scheduled)}))
    assert decision.new_lr["a"] <= max_lr
    assert decision.new_lr["a"] >= min(min_lr, scheduled)


# --- what is worth a snapshot -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "values", "expected"),
    [
        ("each new best", [3, 2, 2, 1], "**.*"),
        ("NaN first", [NAN, 2, 1], ".**"),
        ("NaN after a best", [2, NAN, 2, 1], "*..*"),
        ("infinity is none, in either direction", [INF, 2, -INF, 1], ".*.*"),
        ("nothing fresh after a best", [2, None, 1], "*.*"),
        ("the first monitor decides", [{"val_loss": 1.0}, {"val_b": 0.1}, {"val_loss": 2.0, "val_b": 0.0}], "*.."),
    ],
)
def test_is_best(why, values, expected):
    made = Run(DecisionEngine(Settings(monitors=("val_loss", "val_b")), []))
    assert not made.controller.is_best, "before the first check"
    found = ""
    for value in values:
        made.check(value)
        found += "*" if made.controller.is_best else "."
    assert found == expected, why


# --- several held-out sets (row S10) ----------------------------------------------------------------------------------

SETS = ("val_loss/a", "val_loss/b", "val_loss/c")
OVERFITTING_ONLY = Policy("overfitting", {C.OVERFITTING: TABLE[C.OVERFITTING]})


def curves(kinds: str) -> list[dict[str, float]]:
    """Validation losses over 40 checks; ``o``: overfits from check 12 on, ``i``: improves to the end."""
    shapes = {"o": lambda check: 0.5 + 0.05 * abs(check - 12), "i": lambda check: 1.0 - 0.02 * check}
    return [{name: shapes[kind](check) for name, kind in zip(SETS, kinds, strict=False)} for check in range(40)]


TRAIN = [2.0 - 0.04 * check for check in range(40)]


@pytest.mark.parametrize(
    ("kinds", "any_", "majority", "all_"),
    [
        ("o", True, True, True),
        ("i", False, False, False),
        ("oi", True, False, False),
        ("oo", True, True, True),
        ("oii", True, False, False),
        ("oio", True, True, False),
        ("ooo", True, True, True),
    ],
)
def test_the_sets_vote_on_overfitting_and_those_that_overfit_are_named(kinds, any_, majority, all_):
    for vote, overfits in zip((Vote.ANY, Vote.MAJORITY, Vote.ALL), (any_, majority, all_), strict=True):
        made = Run(DecisionEngine(Settings(monitors=SETS[: len(kinds)], vote=vote, policy=OVERFITTING_ONLY)))
        made.feed(curves(kinds), TRAIN)
        assert ("b" in made.actions) is overfits, vote
        for decision in made.decisions:
            if decision.condition is C.OVERFITTING:
                for name, kind in zip(SETS, kinds, strict=False):
                    assert (name in decision.reason) <= (kind == "o"), "a set that improves is not accused"
                assert any(name in decision.reason for name in SETS)
                of_each = {f"score/{name}" for name in SETS[: len(kinds)]} if len(kinds) > 1 else {"score"}
                assert of_each <= set(decision.evidence)


def test_the_set_that_overfits_alone_is_the_one_whose_score_passes_the_threshold():
    made = Run(DecisionEngine(Settings(monitors=SETS, vote=Vote.ANY, policy=OVERFITTING_ONLY)))
    made.feed(curves("ioi"), TRAIN)
    decision = made.decisions[made.actions.index("b")]
    passed = [name for name in SETS if decision.evidence[f"score/{name}"] >= decision.evidence[f"threshold/{name}"]]
    assert passed == [SETS[1]]
    assert [name for name in SETS if name in decision.reason] == passed


def test_a_set_that_is_measured_now_and_then_votes_only_then():
    # val_b overfits, by its script, and is measured at every third check; patience 2 needs two of those in a row.
    detectors = [Says(C.OVERFITTING, "n" * 9, "val_a"), Says(C.OVERFITTING, "y--y--y--", "val_b")]
    made = Run(DecisionEngine(Settings(monitors=SETS[:2], vote=Vote.ANY, policy=SETTINGS.policy), detectors))
    made.feed([{"val_a": 1.0} | ({"val_b": 1.0} if check % 3 == 0 else {}) for check in range(9)])
    assert made.actions == "." * 9, "val_a ruled it out in between"


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "settings", "values", "expected"),
    [
        ("nine checks of thirteen without a new best", Settings(), [1, 0.8, 0.7, *[0.65] * 10], "." * 12 + "b"),
        ("more is better", Settings(mode=Mode.MAX), [0.1, 0.3, 0.4, *[0.5] * 10], "." * 12 + "b"),
        ("conservative asks for more", Settings(policy=PRESETS["conservative"]), [1, 0.8, 0.7, *[0.65] * 12],
         "." * 14 + "r"),
        ("a run that improves is left alone", Settings(), [1 / n for n in range(1, 40)], "." * 39),
        ("one NaN is forgiven", Settings(), [1, 0.8, NAN, 0.6, 0.5], "....."),
        ("two in a row are not", Settings(), [1, 0.8, NAN, NAN, 0.5], "...b."),
        ("NaN from the start goes back to the start", Settings(), [NAN, NAN], ".b"),
        ("validation at every second check", Settings(), [1, None, 0.8, None, *[0.7, None] * 10],
         "." * 22 + "b."),
    ],
)  # fmt: skip
def test_with_the_real_detectors(why, settings, values, expected):
    assert actions(settings, values) == expected, why


def test_without_rates_it_still_decides():
    values = [1, 0.8, 0.7, *[0.65] * 10, NAN, NAN]
    assert actions(Settings(), values, groups=()) == actions(Settings(), values)


@few
@given(settings_of(), reading_lists())
def test_every_decision_belongs_to_its_reading_and_is_consistent(settings, readings):
    controller = DecisionEngine(settings)
    for reading in readings:
        decision = controller.check(reading)
        assert (decision.check, decision.epoch, decision.step) == (reading.check, reading.epoch, reading.step)
        assert decision.old_lr == {name: rate.applied for name, rate in reading.rates.items()}
        assert set(decision.new_lr) == set(decision.old_lr)
        if decision.action is Action.RESTORE:
            assert decision.snapshot_check is not None
        if decision.snapshot_check is not None:  # a run that is stopped ends at its best
            assert decision.action in (Action.RESTORE, Action.STOP)
        assert 0 < decision.factor <= 1
        if decision.action in (Action.HOLD, Action.STOP):
            assert (decision.factor, decision.new_lr) == (1.0, decision.old_lr)
        if decision.action is Action.REDUCE:
            assert decision.factor < 1
        assert controller.diagnosis is not None
        if reading.progress is None or reading.progress < 1.0:  # the end of a budget is held against the best by itself
            assert decision.condition is controller.diagnosis.condition


# Words, not letters: a metric may be called "finance".
NOISE = re.compile(r"(?<![\w|/])[+-]?(nan|inf)(?![\w|/])")


def noise_in(settings: Settings, readings: list[Reading], detectors: list[Says] | None) -> list[str]:
    controller = DecisionEngine(settings, detectors)
    reasons = [controller.check(replace(reading, rates={})).reason for reading in readings]
    return [reason for reason in reasons if NOISE.search(reason)]


@few
@given(settings_of(("val_loss", "val_b")), reading_lists(("val_loss", "val_b")), st.text("ynu-", max_size=14))
def test_no_sentence_holds_a_number_that_is_none(settings, readings, script):
    assert noise_in(settings, readings, [Says(C.PLATEAU, script), Says(C.DIVERGENCE, script[::-1])]) == []


def test_a_state_of_a_table_loads_into_a_policy_that_counts_epochs_and_back():
    table, recipe = DecisionEngine(Settings()), DecisionEngine(Settings(policy=PRESETS["halving"]))
    table.check(Reading(0, 0, 0, {"val_loss": 1.0}))
    assert not math.isnan(swapped(recipe, table.state_dict()).history.monitors[0].state.best)
    swapped(table, recipe.state_dict())


@pytest.mark.parametrize("version", [0, 2, None])
def test_a_state_of_another_version_is_refused(version):
    state = DecisionEngine(Settings()).state_dict() | {"version": version}
    with pytest.raises(StateError, match=f"of version 1 but the checkpoint holds version {version}"):
        DecisionEngine(Settings()).load_state_dict(state)
