"""Raises that are undone, and what every change has brought: a timeline of losses, and the actions that it gets."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import entry_line, read_line
from lightning_lr.engine.policies import ExponentialPolicy
from lightning_lr.engine.records import Adjustment, Decision, Finding, MetricViews, Rate, Reading, Review
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Condition, Event, Verdict


class Slow(Detector):
    """Says at each check of a list that progress is slow."""

    condition = Condition.SLOW_PROGRESS
    precedence = 80

    def __init__(self, *checks: int) -> None:
        self.checks = checks

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        verdict = Verdict.YES if views.check in self.checks else Verdict.NO
        return (self.finding(verdict, "val_loss", 15.0, 10.0),)

    def describe(self, finding: Finding) -> str:
        return f"{finding.condition} has a score of {finding.score:.0f}"


class Diverges(Slow):
    condition = Condition.DIVERGENCE
    precedence = 20
    urgent = True


def run(losses: Sequence[float], *detectors: Detector) -> tuple[list[Decision], list[bool]]:
    """The decisions, and whether the state of each check was kept."""
    controller = DecisionEngine(Settings(), detectors)
    rate, snapshot, decisions, kept = 0.1, -1, [], []
    for check, loss in enumerate(losses):
        rates = {"lr": Rate(0.1, rate / 0.1, rate)}
        decision = controller.check(
            Reading(check, check, check, {"val_loss": loss}, rates=rates, snapshot_check=snapshot)
        )
        rate = decision.new_lr["lr"]
        kept.append(controller.is_best)
        snapshot = check if controller.is_best else snapshot
        decisions.append(decision)
    return decisions, kept


def actions(decisions: Sequence[Decision]) -> str:
    return "".join({"hold": ".", "raise": "+", "restore": "r", "reduce": "-"}[d.action] for d in decisions)


SLOWLY = [1.0, 0.99, 0.98, 0.97]


def test_a_raise_that_helps_stays_and_says_what_it_brought() -> None:
    decisions, kept = run([*SLOWLY, 0.9, 0.8, 0.7, 0.65], Slow(3))
    assert actions(decisions) == "...+...."
    assert decisions[3].new_lr == {"lr": pytest.approx(0.2)}
    assert decisions[6].reason.endswith(
        "the raise of check 3 helped: val_loss gained 0.01 a check before, 0.09 since, 0.01 expected without it "
        "(3 checks)"
    )
    # the state before the raise is kept until it has proved itself
    assert kept == [True, True, True, True, False, False, True, True]


def test_a_raise_that_does_not_help_is_taken_back_exactly_and_the_next_has_to_wait() -> None:
    decisions, _ = run([*SLOWLY, 0.965, 0.96, 0.955, *[0.94 - 0.01 * i for i in range(14)]], Slow(3, 8, 11, 20))
    #                check 3 raises, 6 takes it back; 8 and 11 are locked, 20 is not
    assert actions(decisions) == "...+..r.............+"
    undo = decisions[6]
    assert (undo.factor, undo.snapshot_check, undo.new_lr["lr"]) == (0.5, 3, pytest.approx(0.1))
    assert undo.reason == (
        "slow_progress: the raise of check 3 did not help: val_loss gained 0.01 a check before, 0.005 "
        "since, 0.01 expected without it (3 checks) → restore the state of check 3, learning rate × 0.5 (lr 0.2 → 0.1)"
    )
    assert decisions[8].reason == (
        "slow_progress: slow_progress has a score of 15; no raise: the last raise did not help, 4 checks to wait"
    )


def test_a_raise_in_a_descent_that_slows_down_by_itself_is_not_asked_for_more() -> None:
    decisions, _ = run([2.0, 1.0, 0.5, 0.25, 0.1, 0.02, 0.01], Slow(3))  # without it: 0.125, 0.06, 0.03 to come
    assert actions(decisions) == "...+..."
    assert decisions[6].reason.endswith(
        "the raise of check 3 helped: val_loss gained 0.583 a check before, 0.08 since, 0.0729 expected without it "
        "(3 checks)"
    )


@pytest.mark.parametrize(
    ("losses", "detectors", "expected", "said"),
    [
        ([1.0, 0.9, 0.95], (Slow(2),), "...", "raise skipped: the current weights are not the best snapshot"),
        ([1.0, 0.9, 5.0, 0.85, 0.8, 0.7], (Diverges(2), Slow(3)), "..r...", "raise skipped: "),
    ],
)
def test_where_no_raise_is_tried(losses: list[float], detectors: tuple, expected: str, said: str) -> None:
    decisions, _ = run(losses, *detectors)
    assert actions(decisions) == expected
    assert any(said in decision.reason for decision in decisions)


def test_a_rate_at_which_the_run_diverged_is_the_ceiling() -> None:
    decisions, _ = run([1.0, 0.9, 0.8, 9.0, 0.79, 0.78, 0.77, 0.76], Diverges(3), Slow(5))
    assert actions(decisions) == "...r.+.."  # 0.1 → 0.03 → 0.06, still below 0.1
    decisions, _ = run([1.0, 0.9, 0.8, 9.0, 0.79, 0.78, 0.7, 0.6, 0.5, 0.4, 0.3], Diverges(3), Slow(5, 9))
    assert "no raise: the run diverged at 0.1 before" in decisions[9].reason


# --- the record of it -------------------------------------------------------------------------------------------------


def reviews(losses: Sequence[float], *detectors: Detector, settings: Settings | None = None) -> dict[int, Review]:
    """Check → the review that was due at it."""
    engine, found = DecisionEngine(settings or Settings(), detectors), {}
    for check, loss in enumerate(losses):
        rates = {"lr": Rate(0.1, 1.0, 0.1)}
        engine.check(Reading(check, check, check, {"val_loss": loss}, rates=rates, snapshot_check=0))
        if engine.review is not None:
            found[check] = engine.review
    return found


def test_a_review_holds_the_numbers_of_its_sentence() -> None:
    (review,) = reviews([*SLOWLY, 0.9, 0.8, 0.7], Slow(3)).values()
    assert (review.check, review.action, review.condition, review.factor) == (3, "raise", "slow_progress", 2.0)
    assert (review.helped, review.checks, review.monitor) == (True, 3, "val_loss")
    gains = (review.gain_before, review.gain_expected, review.gain_after)
    assert gains == pytest.approx((0.01, 0.01, 0.09))
    assert str(review).startswith("the raise of check 3 helped: val_loss gained 0.01 a check before")


def test_a_change_that_another_cuts_short_is_reviewed_with_what_it_brought_until_then() -> None:
    found = reviews([1.0, 0.9, 5.0, 0.8, 5.0, 0.7, 0.6, 0.5, 0.4], Diverges(2, 4))
    assert [(at, r.check, r.checks, r.helped) for at, r in found.items()] == [(4, 2, 2, True), (7, 4, 3, True)]


def test_a_raise_that_is_cut_short_has_not_helped() -> None:
    """However fast the run became: it needed another change before its time was over."""
    found = reviews([*SLOWLY, 0.5, 5.0], Slow(3), Diverges(5))
    assert [(r.action, r.checks, r.helped) for r in found.values()] == [("raise", 2, False)]


def test_a_policy_that_counts_epochs_is_reviewed_too() -> None:
    found = reviews([1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], settings=Settings(policy=ExponentialPolicy(epochs=4)))
    assert [(at, r.check, r.helped) for at, r in found.items()] == [(6, 3, False)]


def test_a_review_goes_through_the_journal() -> None:
    engine = DecisionEngine(Settings(), [Slow(3)])
    for check, loss in enumerate([*SLOWLY, 0.9, 0.8, 0.7]):
        reading = Reading(check, check, check, {"val_loss": loss}, rates={"lr": Rate(0.1, 1.0, 0.1)}, snapshot_check=0)
        line = entry_line(engine.entry(Event.CHECK, reading, engine.check(reading), Adjustment({})))
        assert read_line(line).review == engine.review
    assert engine.review is not None
