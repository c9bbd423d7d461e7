"""Faults that even the best libraries have, one test each: those of the twelve that live in the core.

Each would fail with the behaviour that was seen there. The numbers are those of the list that the project started from;
4, 6, 8 and 10 belong to the live side.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.policies import Policy, Response
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Mode
from tests.helpers.readings import INF, NAN, Run, Says, actions, swapped

PACKAGE = Path(__file__).resolve().parent.parent / "lightning_lr"


def table(condition: Condition, response: Response) -> Policy:
    return Policy("one row", {condition: response})


PLATEAU_3 = table(Condition.PLATEAU, Response(Action.REDUCE, 0.5, patience=3))


# --- 1. A relative threshold on a negative metric ---------------------------------------------------------------------
# torch: best × (1 − 0.1) lies above a best of −1, so that a constant −1 "improves" for ever.


@pytest.mark.parametrize("rel_delta", [0.0, 1e-4, 0.1])
@pytest.mark.parametrize(
    ("mode", "values"),
    [
        (Mode.MIN, [1.0] * 8),
        (Mode.MIN, [-1.0] * 8),
        (Mode.MAX, [1.0] * 8),
        (Mode.MAX, [-1.0] * 8),
        (Mode.MIN, [-1.0, -0.9999, -0.9998, -0.9997, -0.9996, -0.9995, -0.9994, -0.9993]),
        (Mode.MAX, [1.0, 0.9999, 0.9998, 0.9997, 0.9996, 0.9995, 0.9994, 0.9993]),
    ],
)
def test_1_a_metric_that_stands_still_or_gets_worse_never_improves_whatever_its_sign(mode, values, rel_delta):
    run = Run(DecisionEngine(Settings(mode=mode, rel_delta=rel_delta), []))
    for check, value in enumerate(values):
        run.check(value)
        assert run.controller.is_best == (check == 0)


@pytest.mark.parametrize(("mode", "value"), [(m, v) for m in Mode for v in (1.0, -1.0)])
def test_1_so_the_learning_rate_falls(mode, value):
    assert actions(Settings(mode=mode, rel_delta=0.1, policy=PLATEAU_3), [value] * 4) == "...r"


# --- 2. The first value is NaN ----------------------------------------------------------------------------------------
# keras: NaN becomes the best, nothing beats it, and the rate is cut while the metric falls from 1.0 to 0.25.


@pytest.mark.parametrize("first", [NAN, INF, -INF])
@pytest.mark.parametrize(("mode", "sign"), [(Mode.MIN, 1), (Mode.MAX, -1)])
def test_2_a_first_value_that_is_no_number_does_not_become_the_best(first, mode, sign):
    run = Run(DecisionEngine(Settings(mode=mode)))
    run.feed([first])
    assert not run.controller.is_best
    for value in [1.0, 0.75, 0.5, 0.4, 0.3, 0.25]:
        run.check(sign * value)
        assert run.controller.is_best
    assert run.actions == "......."


# --- 3. One NaN deafens -----------------------------------------------------------------------------------------------
# river: after one NaN the running statistics are NaN, and no alarm is ever raised again.

OVERFIT = [0.5 + 0.05 * abs(check - 12) for check in range(40)]
MEMORIZED = [2.0 - 0.04 * check for check in range(40)]
HEARD = {
    "plateau": ([1.0, 0.8, 0.7] + [0.7] * 6, None),
    "overfitting": (OVERFIT, MEMORIZED),
    "divergence": ([1.0] * 16, [2.3, 2.0, 1.6, 1.4, 1.3, 1.25, 1.3, 1.9, 2.6, 3.8, 5.0, 7.0, 9.0, 12.0, 15.0, 20.0]),
    "non_finite": ([1.0, 0.9, 0.8, NAN, NAN], None),
}


@pytest.mark.parametrize("junk", [NAN, INF, -INF])
@pytest.mark.parametrize("condition", HEARD)
def test_3_after_one_nan_every_condition_is_still_heard(condition, junk):
    values, train = HEARD[condition]
    policy = table(Condition(condition), Response(Action.REDUCE, 0.5))
    for losses in ([1.0, *values], [junk, *values], [1.0, junk, *values]):
        run = Run(DecisionEngine(Settings(policy=policy)))
        run.feed(losses, [2.5] * (len(losses) - len(values)) + train if train else ())
        assert "r" in run.actions, losses


# --- 5. The sentence is true ------------------------------------------------------------------------------------------
# Lightning: "val_loss = 16.0 < 15.9" for a divergence in min mode.


def numbers_of(pattern: str, reason: str) -> tuple[float, ...]:
    """The numbers at the places of ``#`` in a sentence."""
    found = re.search(re.escape(pattern).replace(r"\#", r"([-+]?[\d.]+(?:e[-+]?\d+)?)"), reason)
    assert found, f"{pattern!r} does not stand in {reason!r}"
    return tuple(map(float, found.groups()))


@pytest.mark.parametrize(("mode", "sign"), [(Mode.MIN, 1), (Mode.MAX, -1)])
@pytest.mark.parametrize("offset", [0.0, 5.0, -5.0])
def test_5_the_sentence_of_a_plateau_is_true_in_both_modes(mode, sign, offset):
    values = [sign * value + offset for value in [1.0, 0.8, 0.7, 0.65, 0.65, 0.65, 0.65]]
    run = Run(DecisionEngine(Settings(mode=mode, policy=PLATEAU_3)))
    decision = run.feed(values)[-1]
    assert decision.action is Action.REDUCE
    count, best, check = numbers_of("no new best for # checks (best # at check #", decision.reason)
    assert best == pytest.approx(values[3]) == pytest.approx((min if sign > 0 else max)(values))
    assert (check, count) == (3, 3)
    factor, old, new = numbers_of("learning rate × # (lr-SGD # → #)", decision.reason)
    assert new == pytest.approx(old * factor)


@pytest.mark.parametrize(("mode", "sign", "word"), [(Mode.MIN, 1, "above"), (Mode.MAX, -1, "below")])
def test_5_the_sentence_of_overfitting_is_true_in_both_modes(mode, sign, word):
    # More is better: the same curves upside down, and above zero.
    values = [sign * value + 2 * (1 - sign) for value in OVERFIT]
    train = [sign * value + 2 * (1 - sign) for value in MEMORIZED]
    settings = Settings(("val_score",), mode, table(Condition.OVERFITTING, Response(Action.REDUCE, 0.5)), "train_score")
    run = Run(DecisionEngine(settings))
    for value, measured in zip(values, train, strict=True):
        run.check(value, train_metric=measured)
    decision = run.decisions[run.actions.index("r")]
    percent, best, check = numbers_of(f"val_score is # % {word} its best # of check #", decision.reason)
    assert best == pytest.approx((min if sign > 0 else max)(values), rel=1e-3)
    assert values[int(check)] == pytest.approx(best, rel=1e-3)
    assert values[decision.check] == pytest.approx(best + sign * abs(best) * percent / 100, rel=0.02)


@pytest.mark.parametrize("offset", [0.0, 10.0, -10.0])
def test_5_the_sentence_of_a_divergence_is_true(offset):
    train = [loss + offset for loss in HEARD["divergence"][1]]
    run = Run(DecisionEngine(Settings(policy=table(Condition.DIVERGENCE, Response(Action.REDUCE, 0.5)))))
    run.feed([1.0] * len(train), train)
    decision = run.decisions[run.actions.index("r")]
    low, high = numbers_of("rose from # to #:", decision.reason)
    assert low == pytest.approx(min(train), rel=1e-3)
    assert low < high <= max(train[: decision.check + 1])


def test_5_the_sentence_of_a_divergence_is_true_of_an_accuracy():
    values = [0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.82, 0.84, 0.86, 0.87, 0.88, 0.6, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1]
    policy = table(Condition.DIVERGENCE, Response(Action.REDUCE, 0.5))
    run = Run(DecisionEngine(Settings(("val_acc",), Mode.MAX, policy)))
    run.feed(values)
    reason = run.decisions[run.actions.index("r")].reason
    assert "val_acc" in reason
    assert "training loss" not in reason
    high, low = numbers_of("fell from # to #", reason)
    assert low < high


@pytest.mark.parametrize(("mode", "sign"), [(Mode.MIN, 1), (Mode.MAX, -1)])
def test_5_a_healthy_sentence_is_true_in_both_modes(mode, sign):
    run = Run(DecisionEngine(Settings(mode=mode)))
    values = [sign * value for value in [1.0, 0.8, 0.6, 0.4]]
    decision = run.feed(values)[-1]
    newest, best, ago, slope = numbers_of("val_loss #, best # (# checks ago), slope #", decision.reason)
    assert (newest, best, ago) == (values[3], values[3], 0)
    assert slope == pytest.approx(-0.2 * sign), "the way in which the user sees it move"


# --- 7. Half of the counters saved ------------------------------------------------------------------------------------
# Lightning, keras, Composer: after a resume patience or cooldown begins anew.


@pytest.mark.parametrize(
    ("why", "settings", "script", "expected"),
    [
        ("patience", Settings(policy=PLATEAU_3), "yyyyyy", "..r..r"),
        ("cooldown", Settings(policy=PLATEAU_3, cooldown=4), "yyyyyyyyy", "..r....r."),
        ("warm-up", Settings(policy=PLATEAU_3, warmup_checks=4), "yyyyyyy", "....r.."),
        ("escalation", Settings(policy=table(Condition.PLATEAU, Response(Action.RESTORE, 0.5))), "nyyyyy", ".bbbbs"),
    ],
)
def test_7_a_run_that_is_resumed_anywhere_counts_on(why, settings, script, expected):
    for position in range(len(script)):
        run = Run(DecisionEngine(settings, [Says(Condition.PLATEAU, script)]))
        run.feed([1.0] * position)
        run.controller = swapped(run.controller, json.loads(json.dumps(run.controller.state_dict())))
        run.feed([1.0] * (len(script) - position))
        assert run.actions == expected, f"{why}, resumed before check {position}"


# --- 9. A steady descent after a spike --------------------------------------------------------------------------------
# torch: no value beats the best of before the spike, so that the rate is cut while the loss falls at every check.


@pytest.mark.parametrize("checks", [4, 8, 12, 15, 16, 21])
@pytest.mark.parametrize(("mode", "sign"), [(Mode.MIN, 1), (Mode.MAX, -1)])
def test_9_a_steady_descent_after_a_spike_is_no_plateau(mode, sign, checks):
    # value  1.0 ↘ 0.7  5.0  4.8 ↘ … ↘ 1.0: always falling, and never below 0.7 again
    values = [1.0, 0.9, 0.8, 0.7] + [5.0 - 0.2 * check for check in range(checks)]
    run = Run(DecisionEngine(Settings(mode=mode, policy=PLATEAU_3)))
    run.feed([sign * value for value in values])
    cuts = [decision for decision in run.decisions if decision.action is not Action.HOLD]
    assert cuts == []


def test_9_but_standing_still_after_a_spike_is_one():
    run = Run(DecisionEngine(Settings(policy=PLATEAU_3)))
    run.feed([1.0, 0.9, 0.8, 0.7, 5.0, 4.0, 3.0, 2.0, 1.0] + [0.75] * 30)
    assert "r" in run.actions


# --- 11. What patience means ------------------------------------------------------------------------------------------
# Lightning, keras, fastai act on the N-th bad check, torch on the one after it. Here: on the N-th.


@pytest.mark.parametrize("patience", [1, 2, 3, 4, 5, 10])
def test_11_patience_n_acts_on_the_nth_check_in_a_row(patience):
    policy = table(Condition.PLATEAU, Response(Action.REDUCE, 0.5, patience=patience))
    script = "n" + "y" * patience
    scripted = actions(Settings(policy=policy), [1.0] * len(script), detectors=[Says(Condition.PLATEAU, script)])
    assert scripted == "." * patience + "r"
    values = [1.0, 0.8, 0.6] + [0.6] * patience
    assert actions(Settings(policy=policy), values) == "..." + "." * (patience - 1) + "r"


# --- 12. Counters rewritten in every class ----------------------------------------------------------------------------
# Lightning, keras, ignite, skorch, fastai, Composer. Here: the gates, made once.

WAITING = re.compile(r"patience|cooldown|warmup|wait|streak|since|bad_|misses|countdown")
FACTS = {
    # How long ago something was is said of a series; whether that is long enough to act is asked elsewhere.
    ("engine/history/metric_history.py", "since_best"),
    ("engine/history/metric_history.py", "non_finite_streak"),
}


def counted(tree: ast.Module) -> Iterator[str]:
    """Names of what is counted up or down: ``x += 1``, ``x = x - 1``, ``x = max(0, x - 1)``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign) and isinstance(node.op, (ast.Add, ast.Sub)):
            yield name_of(node.target)
        if isinstance(node, ast.Assign):
            sums = [part for part in ast.walk(node.value) if isinstance(part, ast.BinOp)]
            read = {name_of(part) for one in sums if isinstance(one.op, (ast.Add, ast.Sub)) for part in ast.walk(one)}
            targets = [t for target in node.targets for t in getattr(target, "elts", [target])]
            yield from (name_of(target) for target in targets if name_of(target) in read)


def name_of(node: ast.AST) -> str:
    if isinstance(node, ast.Subscript):
        return name_of(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else "?"


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def test_12_nothing_but_the_gates_counts_what_is_waited_for():
    found = {(file, name) for file, tree in sources() for name in counted(tree) if WAITING.search(name)}
    assert {(file, name) for file, name in found if file != "engine/gates.py"} - FACTS == set()


def test_12_the_gates_are_made_once_by_the_engine():
    made = [
        file
        for file, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and name_of(node.func) == "Gates"
    ]
    assert made == ["engine/engine.py"]


@pytest.mark.parametrize(
    "faulty",
    [
        "self.cooldown_counter -= 1",
        "self.wait += 1",
        "self.num_bad_epochs = self.num_bad_epochs + 1",
        "state.cooldown_left = max(0, state.cooldown_left - 1)",
        "before, self.patience_left = self.patience_left, self.patience_left - 1",
    ],
)
def test_12_the_rule_finds_what_it_looks_for(faulty):
    assert any(WAITING.search(name) for name in counted(ast.parse(faulty)))
