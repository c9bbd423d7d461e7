"""What becomes of a rate that was moved: confirmed by the monitor, taken back, or restored to the start."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.lr_search.guard import CUT, IN_A_ROW, WRECKED, Confirmation, StepGuard
from lightning_lr.engine.records import Decision, Rate, Reading, SearchResult
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Mode, Verdict

READINGS = {0.0: (2.0, 2.2), 20.0: (1.0, 1.2), 80.0: (9.0, 9.2)}


def result(factor: float = 20.0, checked: bool = True) -> SearchResult:
    return SearchResult(READINGS, factor, factor, checked, gain=1.0, spread=0.1, horizon=100)


class Run:
    """An engine, and the rate and snapshot that its decisions lead to."""

    def __init__(self, mode: Mode = Mode.MIN, **untrained: float) -> None:
        self.engine = DecisionEngine(Settings(("val",), mode))
        self.rate, self.scale, self.checks, self.snapshot, self.untrained = 0.001, 1.0, 0, -1, untrained

    def reading(self, progress: float, **values: Any) -> Reading:
        rates = {"lr": Rate(self.rate, self.scale, self.rate * self.scale)}
        self.checks += 1
        steps = round(100 * progress)
        common = {"rates": rates, "snapshot_check": self.snapshot, "progress": progress, "budget": 100}
        return Reading(self.checks - 1, self.checks, steps, untrained=self.untrained, **common, **values)

    def apply(self, decision: Decision) -> Decision:
        self.scale *= decision.factor
        if self.engine.is_best:
            self.snapshot = decision.check
        return decision

    def searched(self, found: SearchResult) -> Decision:
        return self.apply(self.engine.search_ended(self.reading(0.01), found))

    def check(self, value: float, progress: float) -> Decision:
        return self.apply(self.engine.check(self.reading(progress, metrics={"val": value})))

    def wrecked(self, progress: float) -> Decision:
        return self.apply(self.engine.run_wrecked(self.reading(progress)))


def test_a_rate_that_brings_the_monitor_down_is_confirmed() -> None:
    run = Run(val=2.3)
    assert run.searched(result()).action is Action.EXPLORE
    decisions = [run.check(value, 0.05 * place) for place, value in enumerate((2.2, 1.8, 1.5, 1.3), start=1)]
    said = [decision.reason for decision in decisions if "is confirmed: val 2.3 → 1.5 since before" in decision.reason]
    assert len(said) == 1
    assert run.engine.search.waits is False
    assert run.scale == 20.0


def test_the_state_of_the_start_stays_at_hand_until_then() -> None:
    run = Run(val=2.3)
    run.searched(result())
    for place, value in enumerate((2.2, 1.8), start=1):
        run.check(value, 0.05 * place)
        assert run.snapshot == -1
    run.check(1.5, 0.15)
    assert run.snapshot == 3


def test_a_best_that_went_by_until_then_does_not_keep_a_better_state_from_being_kept() -> None:
    run = Run(val=2.3)
    run.searched(result())
    values = {1.2: -1, 1.1: -1, 1.5: 3, 1.6: 3, 1.4: 5, 1.45: 5, 1.3: 7, 1.0: 8, 1.05: 8}  # value → check that is kept
    for place, (value, kept) in enumerate(values.items(), start=1):
        run.check(value, 0.05 * place)
        assert run.snapshot == kept, value


@pytest.mark.parametrize(
    ("values", "at"),
    [((2.35, 2.4, 2.5), 3), ((2.4, 2.2, 2.31, 2.4), 4), ((2.28, 2.31, 2.26, 2.33, 2.24, 2.31, 2.22, 2.3), 8)],
    ids=["clearly worse", "no better after a fifth", "not clearly better after two fifths"],
)
@pytest.mark.parametrize(("mode", "sign"), [(Mode.MIN, 1), (Mode.MAX, -1)])
def test_a_rate_that_does_not_is_taken_back(values: tuple[float, ...], at: int, mode: Mode, sign: int) -> None:
    """The loss by which it was found is no measure there (a policy that learns by trial and error)."""
    run = Run(mode, val=sign * 2.3)
    run.searched(result())
    for place, value in enumerate(values, start=1):
        decision = run.check(sign * value, 0.05 * place)
        if place == at:
            break
        assert decision.action is Action.HOLD
    assert decision.action is Action.RESTORE
    assert decision.snapshot_check == -1
    assert decision.new_lr["lr"] == pytest.approx(0.001)
    assert "is taken back" in decision.cause
    assert run.engine.search.checked is False


def test_what_was_decided_in_between_is_taken_back_too() -> None:
    run = Run(val=2.3)
    run.searched(result())
    run.wrecked(0.03)
    assert run.scale == pytest.approx(20 * CUT)
    for place in range(1, 5):
        decision = run.check(2.3 + 0.01 * place, 0.05 * place)
        if decision.action is not Action.HOLD:
            break
    assert decision.new_lr["lr"] == pytest.approx(0.001)


@pytest.mark.parametrize("found", [result(factor=1.0), result(factor=2.0)])
def test_a_rate_that_was_hardly_moved_waits_for_nothing(found: SearchResult) -> None:
    run = Run(val=2.3)
    run.searched(found)
    decisions = [run.check(value, 0.1 * place) for place, value in enumerate((2.4, 2.5, 2.6), start=1)]
    assert not [decision for decision in decisions if "taken back" in decision.reason]
    assert run.engine.search.waits is False


def test_without_a_value_before_training_nothing_is_waited_for() -> None:
    run = Run(train_loss=2.3)
    run.searched(result())
    run.check(2.4, 0.1)
    run.check(2.0, 0.2)
    assert run.snapshot == 2


def test_a_wrecked_run_is_restored_at_a_quarter_of_the_rate() -> None:
    run = Run(val=2.3)
    run.searched(result())
    decision = run.wrecked(0.05)
    assert (decision.action, decision.condition, decision.snapshot_check) == ("restore", "divergence", -1)
    assert decision.new_lr["lr"] == pytest.approx(0.005)
    assert decision.steps == ("restore", "scale")


def test_the_watch_goes_through_a_checkpoint() -> None:
    run, other = Run(val=2.3), Run(val=2.3)
    for one in (run, other):
        one.searched(result())
        one.check(2.35, 0.05)
    other.engine = DecisionEngine(Settings(("val",)))
    other.engine.load_state_dict(run.engine.state_dict())
    for place, value in enumerate((2.4, 2.5), start=2):
        assert run.check(value, 0.05 * place) == other.check(value, 0.05 * place)
    assert run.engine.search.checked is False


# --- the steps --------------------------------------------------------------------------------------------------------

LIMIT = 2.1 + WRECKED * 1.0


@pytest.mark.parametrize(
    ("losses", "wrecked"),
    [
        ((LIMIT + 1,) * IN_A_ROW, True),
        ((math.nan,) * IN_A_ROW, True),
        ((math.nan, 1.0, math.inf, 1.0, math.nan), False),
        ((LIMIT - 0.1,) * 10, False),
        ((LIMIT + 1, LIMIT + 1, 1.0) * 3, False),
    ],
    ids=["far above", "no numbers", "batches that are skipped", "below the limit", "outliers"],
)
def test_three_bad_losses_in_a_row_are_a_wreck(losses: tuple[float, ...], wrecked: bool) -> None:
    guard = StepGuard.of(result())
    assert guard.limit == pytest.approx(LIMIT)
    assert any(map(guard.is_wrecked, losses)) is wrecked


def test_a_monitor_that_is_no_number_says_nothing() -> None:
    waits = Confirmation(untrained=1.0)
    assert [waits.look(math.nan, share) for share in (0.1, 0.3, 0.5)] == [Verdict.UNDECIDED] * 3
    assert waits.look(0.5, 0.6) is Verdict.YES
