"""Every gate that may block a change: patience, cooldown and warm-up checks first.

A script has one letter a check: ``y`` plateau, ``u`` cannot be told, ``n`` ruled out, ``-`` nobody could ask,
``!`` divergence. A timeline has one letter a check: ``A`` time to act, ``p`` patience, ``c`` cooling down,
``w`` warm-up, ``.`` nothing to wait for.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.engine.decisions import Proposal, from_table
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.gates import GATES, Gates
from lightning_lr.engine.policies import PRESETS, AutoPolicy, Policy, Response
from lightning_lr.engine.records import Decision, Diagnosis, Finding, Rate, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Verdict
from tests.helpers.readings import Run, Says

VERDICTS = {"y": Verdict.YES, "n": Verdict.NO, "u": Verdict.UNDECIDED}


def diagnosis(letter: str, condition: Condition = Condition.PLATEAU) -> Diagnosis:
    if letter == "!":
        return Diagnosis(Condition.DIVERGENCE, (), "lost", frozenset({Condition.DIVERGENCE}), urgent=True)
    if letter == "-":
        return Diagnosis(Condition.HEALTHY, (), "nothing fresh")
    finding = Finding(condition, VERDICTS[letter], "val_loss", 0.0, 1.0, "flat")
    suspected = frozenset() if letter == "n" else frozenset({condition})
    return Diagnosis(
        condition if letter == "y" else Condition.HEALTHY, (finding,), "flat", suspected, frozenset({condition})
    )


def asked(gates: Gates, seen: Diagnosis, patience: int = 1, train_only: bool = False) -> Decision:
    """One check at which the policy would reduce the rate; what is decided is taken note of."""
    cut = Response(Action.REDUCE, 0.5, patience)
    policy = Policy("table", {Condition.PLATEAU: cut, Condition.DIVERGENCE: cut, Condition.OVERFITTING: cut})
    reading = Reading(0, 0, 0)
    gates.update(reading, seen)
    decision = gates.decide(from_table(reading, seen, policy, 0, may_anneal=False, train_only=train_only))
    gates.decided(decision, train_only)
    return decision


def timeline(gates: Gates, script: str, patience: int = 1) -> str:
    """Every time to act is acted on."""
    letters = {None: "A", "patience": "p", "cooldown": "c", "warm_up": "w"}
    decisions = [asked(gates, diagnosis(letter), patience) for letter in script]
    return "".join("." if d.condition is Condition.HEALTHY else letters[d.blocked_by] for d in decisions)


@pytest.mark.parametrize(
    ("why", "patience", "script", "expected"),
    [
        ("patience 1 acts at once", 1, "yy", "AA"),
        ("patience 2 acts on the second", 2, "yyyy", "pApA"),
        ("patience 3 acts on the third, not on the fourth", 3, "yyyy", "ppAp"),
        ("one check that rules it out begins anew", 3, "yynyyy", "pp.ppA"),
        ("undecided counts", 3, "uuy", "..A"),
        ("undecided counts between as well", 3, "yuy", "p.A"),
        ("undecided never acts, however long", 2, "uuuuu", "....."),
        ("and acts as soon as it is yes", 2, "uuuuuy", ".....A"),
        ("a check at which nobody could ask neither counts ...", 3, "y-y", "p.p"),
        ("... nor begins anew: validation at every second check", 3, "y-y-y", "p.p.A"),
        ("with nothing but such checks nothing happens", 1, "---", "..."),
    ],
)
def test_patience(why, patience, script, expected):
    assert timeline(Gates(Settings()), script, patience) == expected, why


@pytest.mark.parametrize(
    ("why", "cooldown", "patience", "script", "expected"),
    [
        ("none", 0, 1, "yyy", "AAA"),
        ("one check is left out", 1, 1, "yyyyy", "AcAcA"),
        ("three are", 3, 1, "yyyyyy", "AcccAc"),
        ("the checks that cool down count for patience", 2, 3, "yyyyyy", "ppAccA"),
        ("a long patience outlasts the cooldown", 1, 3, "yyyyyy", "ppAcpA"),
        ("healthy checks cool down as well", 2, 1, "ynny", "A..A"),
        ("checks with nothing fresh cool down as well", 2, 1, "y--y", "A..A"),
        ("urgent conditions do not wait", 3, 1, "y!!y", "AAAc"),
        ("and begin the cooldown anew", 2, 1, "yc!yyy".replace("c", "y"), "AcAccA"),
    ],
)
def test_cooldown(why, cooldown, patience, script, expected):
    assert timeline(Gates(Settings(cooldown=cooldown)), script, patience) == expected, why


@pytest.mark.parametrize(
    ("why", "warmup", "patience", "script", "expected"),
    [
        ("none", 0, 1, "yy", "AA"),
        ("two checks", 2, 1, "yyyy", "wwAA"),
        ("they count for patience", 2, 3, "yyyy", "wwAp"),
        ("urgent conditions do not wait", 3, 1, "!yyy", "AwwA"),
        ("checks with nothing fresh are checks", 2, 1, "--y", "..A"),
    ],
)
def test_warmup_checks(why, warmup, patience, script, expected):
    assert timeline(Gates(Settings(policy=AutoPolicy(warmup_checks=warmup))), script, patience) == expected, why


@pytest.mark.parametrize(
    ("settings", "patience", "why"),
    [
        ({}, 3, ["1 of 3 checks in a row", "2 of 3 checks in a row", ""]),
        ({}, 1, ["", "", ""]),
        ({"cooldown": 2}, 1, ["", "cooling down, 2 checks left", "cooling down, 1 check left", ""]),
        ({"policy": AutoPolicy(warmup_checks=2)}, 1, ["2 of 2 warm-up checks left", "1 of 2 warm-up checks left", ""]),
    ],
)
def test_a_hold_says_what_it_waits_for(settings, patience, why):
    gates = Gates(Settings(**settings))
    decisions = [asked(gates, diagnosis("y"), patience) for _ in why]
    assert ["" if d.action is Action.REDUCE else d.reason.partition("; ")[2] for d in decisions] == why


def test_conditions_are_counted_apart():
    gates = Gates(Settings())
    both = frozenset({Condition.PLATEAU, Condition.OVERFITTING})
    gates.update(Reading(0, 0, 0), Diagnosis(Condition.OVERFITTING, (), "", both))
    gates.update(Reading(1, 0, 0), diagnosis("y"))
    assert gates.state.streaks == {"plateau": 2, "overfitting": 1}, "no detector looked for overfitting again"
    gates.update(Reading(2, 0, 0), diagnosis("n"))
    assert gates.state.streaks == {"overfitting": 1}


def test_waiting_is_counted_in_validations():
    # validation · between · between · validation: two of three warm-up checks
    gates = Gates(Settings(cooldown=2, policy=AutoPolicy(warmup_checks=3)))
    reasons = [asked(gates, diagnosis("y"), 1, train_only).reason for train_only in (False, True, True, False)]
    assert [reason.partition("; ")[2].split()[0] for reason in reasons] == ["3", "2", "2", "2"]
    assert asked(gates, diagnosis("!"), 9, train_only=True).action is Action.REDUCE
    asked(gates, diagnosis("n"), 1, train_only=True)
    assert gates.state.cooldown_left == 2


def test_between_validations_nothing_is_warmed_up_that_was_not_asked_to():
    assert asked(Gates(Settings()), diagnosis("y"), 1, train_only=True).action is Action.REDUCE


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
def test_every_gate_says_what_it_is_for(gate):
    """A reader of ``blocked_by`` finds it by its name."""
    assert len(gate.__doc__) > 20


@given(st.text("ynu-!", max_size=30), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
def test_two_adjustments_that_are_not_urgent_are_never_closer_than_cooldown_and_patience(
    script, patience, cooldown, warmup
):
    line = timeline(Gates(Settings(cooldown=cooldown, policy=AutoPolicy(warmup_checks=warmup))), script, patience)
    calm = [check for check, (act, letter) in enumerate(zip(line, script, strict=True)) if act == "A" and letter != "!"]
    assert all(later - earlier >= max(cooldown + 1, patience) for earlier, later in pairwise(calm))
    assert all(check >= warmup for check in calm)
    assert all(script[check] in "y!" for check, act in enumerate(line) if act == "A"), "undecided never acts"


# --- a plateau is left alone while the schedule changes the rate, and while it is young; reductions end ---------------
# Timelines have one letter a check: ``.`` hold, ``r`` reduce.

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


@pytest.mark.parametrize(
    ("why", "probability", "lr", "blocked"),
    [
        ("half of the stall is a plateau, which is left to the schedule", 0.6, 0.05, "scheduler_changes_lr"),
        ("overfitting itself is probable", 0.95, 0.05, None),
        ("its detector states no probability", None, 0.05, None),
        ("the schedule holds still", 0.6, 0.1, None),
    ],
)
def test_overfitting_waits_for_a_schedule_that_moves_if_it_is_doubtful(why, probability, lr, blocked):
    gates, condition = Gates(Settings(policy=PRESETS["conservative"])), C.OVERFITTING
    overfits = Diagnosis(condition, (), "risen", frozenset({condition}), frozenset({condition}))
    for check, rate in enumerate((0.1, lr)):
        reading = Reading(check, check, check, rates={"lr": Rate(rate, 1.0, rate)})
        gates.update(reading, overfits)
    response, stated = PRESETS["conservative"].responses[condition], {str(condition): probability}
    asked = Proposal(reading, condition, "", "risen", response, by_table=True, probabilities=stated)
    assert gates.decide(asked).blocked_by == blocked, why


def test_a_budget_that_grew_makes_nobody_wait_for_what_has_passed():
    """A run that is resumed with more epochs is less far than it was."""
    policy = Policy("table", {C.PLATEAU: RIPENING, C.NON_FINITE: FIRM})
    made = Run(DecisionEngine(Settings(policy=policy), [Says(C.PLATEAU, "yyyyyyyy")]), budget=4)
    made.feed([1.0] * 4)
    made.budget = 20
    made.feed([1.0] * 4)
    assert made.actions == ".r.r.r.r"


def cut_for_ever(says: str, values: list[float], condition: Condition = C.PLATEAU) -> str:
    """What a rate is in for that might be cut by nine tenths on every second check."""
    policy = Policy("table", {condition: Response(Action.REDUCE, 0.09, patience=1 if condition is C.DIVERGENCE else 2)})
    made = Run(DecisionEngine(Settings(policy=policy), [Says(condition, says)]))
    for value in values:
        made.check(value)
    return made.actions


LEARNS = [1.0, 0.9, 0.8, 0.7]
WORSE = LEARNS + [0.75] * 46
BETTER = LEARNS + [0.75] * 6 + [0.5] + [0.75] * 7
TINY = LEARNS + [0.75] * 6 + [0.6999] + [0.75] * 7
FLAT = [1.0, 0.999, *[1.0] * 10]


def said(values: list[float]) -> str:
    return "n" * 4 + "y" * (len(values) - 4)


@pytest.mark.parametrize(
    ("why", "condition", "says", "values", "expected"),
    [
        ("each one in vain doubles the wait, and at a thousandth it ends", C.PLATEAU, said(WORSE), WORSE,
         "." * 5 + "r....r" + "." * 9 + "r" + "." * 29),
        ("so may overfitting be cut", C.OVERFITTING, said(WORSE), WORSE, "." * 5 + "r....r" + "." * 9 + "r" + "." * 29),
        ("a real gain, and it may be cut again at once", C.PLATEAU, "nnnnyyyyyynyyyyyyy", BETTER, ".....r......r....r"),
        ("a tiny one is none", C.PLATEAU, "nnnnyyyyyynyyyyyyy", TINY, ".....r......r....."),
        ("what never learned may need any rate", C.PLATEAU, "yyyyyyyyyyyy", FLAT, ".r.r.r.r.r.r"),
        ("what diverges is cut at any rate", C.DIVERGENCE, "nnnnyyyyyyyyyy", WORSE[:14], "....rrrrrrrrrr"),
    ],
)  # fmt: skip
def test_cuts_that_brought_nothing_come_to_an_end(why, condition, says, values, expected):
    assert cut_for_ever(says, values, condition) == expected, why


def test_a_cut_that_waits_says_so():
    policy = Policy("table", {C.PLATEAU: Response(Action.REDUCE, 0.5)})
    made = Run(DecisionEngine(Settings(policy=policy), [Says(C.PLATEAU, "n" + said(WORSE))]))
    made.feed(WORSE[:9])
    assert (made.actions, made.decisions[-1].blocked_by) == (".....r...", "last_cut_failed")
    assert "left alone: the last reduction has brought nothing, 2 checks to wait" in made.decisions[-1].reason


def bumpy(checks: int, every: int) -> list[float]:
    """A power of time that never stops falling, with bumps a third as high as all that is left to gain."""
    return [(1 + check) ** -0.4 * (1 + 0.15 * (check % every < every // 3)) for check in range(checks)]


@pytest.mark.parametrize("every", [12, 40, 90])
@pytest.mark.parametrize("policy", ["conservative", "auto"])
def test_a_long_healthy_run_with_bumps_is_not_cut_to_pieces(every, policy):
    """Class: each new best, however small, made the next bump count anew. Short bumps, and bumps of thirty checks."""
    made = Run(DecisionEngine(Settings(policy=PRESETS[policy])))
    values = bumpy(1500, every)
    made.feed(values, values)
    assert len(made.actions.replace(".", "")) <= 7


def test_a_restore_without_a_snapshot_comes_to_an_end_as_well():
    policy = Policy("table", {C.PLATEAU: Response(Action.RESTORE, 0.1, patience=2)})
    made = Run(DecisionEngine(Settings(policy=policy), [Says(C.PLATEAU, said(WORSE))]), snapshots=False)
    made.feed(WORSE)
    assert made.actions == "." * 5 + "r....r" + "." * 9 + "r" + "." * 29
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
        controller.check(Reading(check, check, check, {"val_loss": value}, planned_end_step=2 * check)).action
        for check, value in enumerate(WORSE[:10])
    ]
    assert actions.index(Action.ANNEAL) == 7
