"""Faults that were seen in well-known libraries; each test would fail with the behaviour that was seen there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import DDPStrategy

from lightning_lr import LearningRateController
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.policies import ExponentialPolicy, Policy, Response
from lightning_lr.engine.records import Decision
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Mode
from tests.helpers.ranks import run_on_ranks
from tests.helpers.readings import INF, NAN, Run, actions
from tests.helpers.recorded import BATCHES, EPOCHS, Small, fit, run


def table(condition: Condition, response: Response) -> Policy:
    return Policy("one row", {condition: response})


def controller(**arguments: Any) -> LearningRateController:
    """Cuts at the checks 1, 3, 5 and 7."""
    plain = {"policy": ExponentialPolicy(epochs=2, ratio=0.5), "verbose": False}
    return LearningRateController("val_score", **{**plain, **arguments})


class Improving(Small):
    """The monitor falls steadily: no diagnosis stands beside the recipe."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_score", 1.0 - 0.05 * self.current_epoch)


def plain_sgd(module: Any) -> Any:
    return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)


PLATEAU_3 = table(Condition.PLATEAU, Response(Action.REDUCE, 0.5, patience=3))


# --- A relative threshold on a negative metric ---------------------------------------------------------------------
# torch: best × (1 − 0.1) lies above a best of −1, so that a constant −1 "improves" for ever.


@pytest.mark.parametrize(("mode", "value"), [(m, v) for m in Mode for v in (1.0, -1.0)])
def test_a_constant_metric_is_a_plateau_whatever_its_sign(mode, value):
    assert actions(Settings(mode=mode, policy=replace(PLATEAU_3, rel_delta=0.1)), [value] * 9) == ".......r."


# --- One NaN deafens -----------------------------------------------------------------------------------------------
# river: after one NaN the running statistics are NaN, and no alarm is ever raised again.

OVERFIT = [0.5 + 0.05 * abs(check - 12) for check in range(40)]
MEMORIZED = [2.0 - 0.04 * check for check in range(40)]
GROWS = [2.3, 2.0, 1.6, 1.4, 1.3, 1.25, 1.3, 1.9, 2.6, 3.8, 5.0, 7.0, 9.0, 12.0, 15.0, 20.0]
HEARD = {
    "plateau": ([1.0, 0.8, 0.7] + [0.7] * 12, None),
    "overfitting": (OVERFIT, MEMORIZED),
    "divergence": ([1.0] * 7 + [1.0 + 0.4 * step for step in range(9)], GROWS),
    "non_finite": ([1.0, 0.9, 0.8, NAN, NAN], None),
}


@pytest.mark.parametrize("junk", [NAN, INF, -INF])
@pytest.mark.parametrize("condition", HEARD)
def test_after_one_nan_every_condition_is_still_heard(condition, junk):
    values, train = HEARD[condition]
    policy = table(Condition(condition), Response(Action.REDUCE, 0.5))
    for losses in ([1.0, *values], [junk, *values], [1.0, junk, *values]):
        run = Run(DecisionEngine(Settings(policy=policy)))
        run.feed(losses, [2.5] * (len(losses) - len(values)) + train if train else ())
        assert "r" in run.actions, losses


# --- The sentence is true ------------------------------------------------------------------------------------------
# Lightning: "val_loss = 16.0 < 15.9" for a divergence in min mode.


def numbers_of(pattern: str, reason: str) -> tuple[float, ...]:
    """The numbers at the places of ``#`` in a sentence."""
    found = re.search(re.escape(pattern).replace(r"\#", r"([-+]?[\d.]+(?:e[-+]?\d+)?)"), reason)
    assert found, f"{pattern!r} does not stand in {reason!r}"
    return tuple(map(float, found.groups()))


@pytest.mark.parametrize(("mode", "sign"), [(Mode.MIN, 1), (Mode.MAX, -1)])
@pytest.mark.parametrize("offset", [0.0, 5.0, -5.0])
def test_the_sentence_of_a_plateau_is_true_in_both_modes(mode, sign, offset):
    values = [sign * value + offset for value in [1.0, 0.8, 0.7, *[0.65] * 10]]
    run = Run(DecisionEngine(Settings(mode=mode, policy=PLATEAU_3)))
    run.feed(values)
    decision = run.decisions[run.actions.index("r")]
    count, checks, best, check = numbers_of("val_loss for # of # checks (best # at check #", decision.reason)
    assert checks == decision.check + 1
    assert best == pytest.approx(values[3]) == pytest.approx((min if sign > 0 else max)(values))
    assert (check, count) == (3, decision.check - 3)
    factor, old, new = numbers_of("learning rate × # (lr-SGD # → #)", decision.reason)
    assert new == pytest.approx(old * factor)


@pytest.mark.parametrize(("mode", "sign", "word"), [(Mode.MIN, 1, "risen"), (Mode.MAX, -1, "fallen")])
def test_the_sentence_of_overfitting_is_true_in_both_modes(mode, sign, word):
    # More is better: the same curves upside down, and above zero.
    values = [sign * value + 2 * (1 - sign) for value in OVERFIT]
    train = [sign * value + 2 * (1 - sign) for value in MEMORIZED]
    settings = Settings(("val_score",), mode, table(Condition.OVERFITTING, Response(Action.REDUCE, 0.5)), "train_score")
    run = Run(DecisionEngine(settings))
    for value, measured in zip(values, train, strict=True):
        run.check(value, train_metric=measured)
    decision = run.decisions[run.actions.index("r")]
    now, best, check = numbers_of(f"val_score has {word} to # from its best # of check #", decision.reason)
    assert best == pytest.approx((min if sign > 0 else max)(values), rel=1e-3)
    assert values[int(check)] == pytest.approx(best, rel=1e-3)
    assert values[decision.check] == pytest.approx(now, rel=1e-3)


@pytest.mark.parametrize("offset", [0.0, 10.0, -10.0])
def test_the_sentence_of_a_divergence_is_true(offset):
    train = [loss + offset for loss in HEARD["divergence"][1]]
    run = Run(DecisionEngine(Settings(policy=table(Condition.DIVERGENCE, Response(Action.REDUCE, 0.5)))))
    run.feed(HEARD["divergence"][0], train)
    decision = run.decisions[run.actions.index("r")]
    low, high = numbers_of("rose from # to # (", decision.reason)
    assert min(train) * (1 - 1e-3) <= low < high <= max(train[: decision.check + 1]) * (1 + 1e-3)


def test_the_sentence_of_a_divergence_is_true_of_an_accuracy():
    values = [0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.82, 0.84, 0.86, 0.87, 0.88, 0.6, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1]
    policy = table(Condition.DIVERGENCE, Response(Action.REDUCE, 0.5))
    run = Run(DecisionEngine(Settings(("val_acc",), Mode.MAX, policy, "train_acc")))
    for value in values:
        run.check(value, train_metric=value + 0.05)
    reason = run.decisions[run.actions.index("r")].reason
    assert "train_acc" in reason
    assert "training loss" not in reason
    high, low = numbers_of("fell from # to #", reason)
    assert low < high


@pytest.mark.parametrize(("mode", "sign"), [(Mode.MIN, 1), (Mode.MAX, -1)])
def test_a_healthy_sentence_is_true_in_both_modes(mode, sign):
    run = Run(DecisionEngine(Settings(mode=mode)))
    values = [sign * value for value in [1.0, 0.8, 0.6, 0.4]]
    decision = run.feed(values)[-1]
    newest, best, ago, slope = numbers_of("val_loss #, best # (# checks ago), slope #", decision.reason)
    assert (newest, best, ago) == (values[3], values[3], 0)
    assert slope == pytest.approx(-0.2 * sign), "the way in which the user sees it move"


# --- A steady descent after a spike --------------------------------------------------------------------------------
# torch: no value beats the best of before the spike, so that the rate is cut while the loss falls at every check.


@pytest.mark.parametrize("checks", [4, 8, 12, 15, 16, 21])
@pytest.mark.parametrize(("mode", "sign"), [(Mode.MIN, 1), (Mode.MAX, -1)])
def test_a_steady_descent_after_a_spike_is_no_plateau(mode, sign, checks):
    # value  1.0 ↘ 0.7  5.0  4.8 ↘ … ↘ 1.0: always falling, and never below 0.7 again
    values = [1.0, 0.9, 0.8, 0.7] + [5.0 - 0.2 * check for check in range(checks)]
    run = Run(DecisionEngine(Settings(mode=mode, policy=PLATEAU_3)))
    run.feed([sign * value for value in values])
    cuts = [decision for decision in run.decisions if decision.action is not Action.HOLD]
    assert cuts == []


def test_standing_still_after_a_spike_is_one():
    run = Run(DecisionEngine(Settings(policy=PLATEAU_3)))
    run.feed([1.0, 0.9, 0.8, 0.7, 5.0, 4.0, 3.0, 2.0, 1.0] + [0.75] * 30)
    assert "r" in run.actions


# --- The rank that did not vote is told a boolean -----------------------------------------------------------------
# EarlyStopping: it stops with reason NOT_STOPPED and the message "improved".


def hears_nothing(ours: LearningRateController) -> Callback:
    """On this rank the core would hold whatever happens."""

    class Deaf(Callback):
        def on_train_start(self, *_: Any) -> None:
            engine = ours._fit_run.engine
            handle = engine.handle

            def held(*event: Any) -> Decision:
                decision = handle(*event)
                return replace(decision, action=Action.HOLD, factor=1.0, new_lr=decision.old_lr, sentence="all is well")

            engine.handle = held

    return Deaf()


@pytest.mark.ranks
@pytest.mark.filterwarnings("ignore:It is recommended to use `self.log:UserWarning")
def test_the_whole_decision_travels() -> None:
    """A rank that would have held has rank 0's action, condition, factor and rates, and a sentence that says why."""

    def on(rank: int) -> tuple[list[Decision], dict[str, float]]:
        ours = controller()
        fit(
            Improving(plain_sgd),
            [ours, *([hears_nothing(ours)] if rank else [])],
            strategy=DDPStrategy(process_group_backend="gloo"),
            devices=2,
        )
        return ours.decisions, ours.scale

    (told, scale), (heard, other_scale) = run_on_ranks(on)
    assert [decision.check for decision in told] == [1, 3, 5, 7]
    assert scale == other_scale == {"lr-SGD": pytest.approx(0.5**4)}
    for ours, theirs in zip(told, heard, strict=True):
        assert theirs.reason == f"{ours.condition}: as rank 0 decided (reduce); this rank would have said: all is well"
        words = {"sentence": "", "probabilities": {}, "cause": "", "evidence": {}}  # only numbers travel
        assert replace(theirs, **words) == replace(ours, **words)
        assert theirs.new_lr != theirs.old_lr


# --- A bound that is accepted and ignored -------------------------------------------------------------------------
# ignite's plateau scheduler: min_lr=0.01 asked, 1e-8 reached.

BOUNDS = (
    # what binds, schedule, arguments, least and greatest rate of any step
    ("min_lr", lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0), {"min_lr": 0.02}, 0.02, 0.1),
    ("max_lr", lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0), {"max_lr": 0.06}, 0.0075, 0.06),
    ("both", lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.99), {"min_lr": 0.02, "max_lr": 0.06}, 0.02, 0.06),
    # It begins below the bound by itself: there it is not raised, nor cut; the check at 0.06 cuts to the bound.
    ("warm-up", lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.2, 1.0, 6), {"min_lr": 0.05}, 0.02, 0.06),
)


@pytest.mark.parametrize(("name", "make", "arguments", "least", "greatest"), BOUNDS, ids=[row[0] for row in BOUNDS])
def test_bounds_are_checked_on_the_applied_rate(
    name: str, make: Callable[[Any], Any], arguments: dict[str, float], least: float, greatest: float
) -> None:
    """At every step, whatever the schedule asks for; and the decisions promise the same."""

    def configure(module: Any) -> Any:
        optimizer = plain_sgd(module)
        return [optimizer], [make(optimizer)]

    ours = controller(**arguments)
    used = [rate for (rate,) in run(Improving(configure), [ours], ours).used]
    assert min(used) == pytest.approx(least)
    assert max(used) == pytest.approx(greatest)
    for decision in ours.decisions:
        if decision.epoch + 1 < EPOCHS:
            # The scheduler had stepped already: what was promised is what the next step used.
            assert decision.new_lr["lr-SGD"] == used[(decision.epoch + 1) * BATCHES]
