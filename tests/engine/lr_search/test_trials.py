"""The tournament after the sweep: which rates, which one is kept, and what is said of it."""

from __future__ import annotations

import math

import pytest

from lightning_lr.engine.decisions import carry_out
from lightning_lr.engine.lr_search.choice import first_rate, margin, margin_in_words
from lightning_lr.engine.lr_search.trials import branch_steps, multiple, next_rate, score
from lightning_lr.engine.records import Branch, Rate, Reading, Trial
from lightning_lr.engine.settings import Settings

SWEPT = (
    tuple(1e-3 * 1.2**step for step in range(40)),
    tuple([1.0] * 20 + [0.5] * 12 + [0.9, 1.5, 3, 6, 9, 12, 20, 30]),
)


def trial(*losses: float) -> Trial:
    branches: list[Branch] = []
    for loss in losses:
        rate = next_rate(0.01, branches)
        assert rate is not None
        branches.append(Branch(rate, loss))
    return Trial(*SWEPT, tuple(branches), 30)


def test_the_third_rate_follows_the_better_of_the_first_two() -> None:
    assert [branch.rate for branch in trial(0.5, 0.4, 0.3).branches] == pytest.approx([0.01, 0.03, 0.09])
    assert [branch.rate for branch in trial(0.4, 0.5, 0.3).branches] == pytest.approx([0.01, 0.03, 0.01 / 3])
    assert next_rate(0.01, trial(0.4, 0.5, 0.3).branches) is None


@pytest.mark.parametrize(
    ("losses", "tried"),
    [
        ((0.5, 0.4, 0.3, 0.2), (1, 3, 9, 27)),  # higher and higher
        ((0.4, 0.5, 0.3, 0.2), (1, 3, 1 / 3, 1 / 9)),  # lower and lower
        ((0.5, 0.4, 0.6), (1, 3, 9)),  # the best lies between two that are worse: there is nothing to look for
        ((0.4, 0.5, 0.6), (1, 3, 1 / 3)),
        ((math.inf,) * 3, (1, 3, 1 / 3)),
    ],
)
def test_more_branches_go_on_beyond_the_best(
    losses: tuple[float, ...], tried: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the fix a fourth one tried the third one's rate again."""
    monkeypatch.setattr("lightning_lr.engine.lr_search.trials.BRANCHES", 4)
    branches = trial(*losses).branches
    assert [branch.rate for branch in branches] == pytest.approx([0.01 * rate for rate in tried])
    assert next_rate(0.01, branches) is None


@pytest.mark.parametrize(
    ("losses", "kept", "said"),
    [
        # the tenth that the sweep suggests is 0.0285
        ((0.5, 0.4, 0.3), math.sqrt(0.0285 * 0.09), "0.051 is kept, halfway from the first to the best of these"),
        ((0.4, 0.5, 0.6), math.sqrt(0.0285 * 0.01), "0.017 is kept, halfway"),
        (
            (0.41, 0.4, 0.9),
            math.sqrt(0.0285 * 0.03),
            "; between 0.34 and 1 times that rate the short trials stayed within",
        ),
        (
            (0.5, 0.4, 0.9),
            math.sqrt(0.0285 * 0.03),
            "; at 1 times that rate alone the short trials stayed within 5 % of",
        ),
        ((math.inf, math.inf, math.inf), 0.0285, "a tenth of it is kept"),
        ((), 0.0285, "a tenth of it is kept"),
    ],
)
def test_what_is_kept_and_said(losses: tuple[float, ...], kept: float, said: str) -> None:
    reading = Reading(0, 0, 40, rates={"lr": Rate(1.0, 1.0, 1.0)}, snapshot_check=-1)
    decision = carry_out(first_rate(reading, trial(*losses)), Settings())
    assert decision.new_lr["lr"] == pytest.approx(kept, rel=0.03)
    assert said in decision.reason
    assert decision.action == "explore"


def test_the_margin_holds_the_rates_that_came_within_five_percent() -> None:
    assert margin(trial(0.41, 0.4, 0.9).branches) == pytest.approx((0.01, 0.03))
    assert margin(trial(0.5, 0.4, 0.9).branches) == pytest.approx((0.03, 0.03))


LIMITS = "The trials are short: how the whole run would have ended at these rates was not measured."


@pytest.mark.parametrize(
    ("losses", "stayed", "outside"),
    [
        (
            (0.41, 0.4, 0.9),
            "stayed within 5 % of the best of them between 0.5 and 1.5 times that rate (0.01 to 0.03).",
            "At 4.5 times it the training loss was 125 % higher. No lower rate was tried.",
        ),
        (
            (0.4, 0.5, math.inf),
            "stayed within 5 % of the best of them at 0.5 times that rate alone (0.01).",
            "At 1.5 times it the training loss was 25 % higher. At 0.17 times it the training loss was no number.",
        ),
        (
            (-1.0, -0.9, -1.01),
            "stayed within 5 % of the best of them between 0.17 and 0.5 times that rate (0.0033 to 0.01).",
            "At 1.5 times it the training loss was 11 % higher. No lower rate was tried.",
        ),
        ((0.39, 0.4, 0.38), "between 0.17 and 0.5 times", "At 1.5 times it the training loss was 5 % higher."),
    ],
)
def test_the_margin_in_words(losses: tuple[float, ...], stayed: str, outside: str) -> None:
    kept, found, limits = margin_in_words(0.02, trial(*losses))
    assert kept.startswith("The exploration kept 0.02. Its short trials of 30 steps ")
    assert stayed in kept
    assert found.startswith(outside)
    assert limits == LIMITS


@pytest.mark.parametrize("losses", [(), (math.inf, math.inf, math.inf)])
def test_no_margin_is_claimed_where_no_trial_came_through(losses: tuple[float, ...]) -> None:
    assert margin_in_words(0.02, trial(*losses)) == ()


def test_a_branch_rises_holds_and_falls_and_explodes_once() -> None:
    shape = [multiple(step, 30) for step in range(30)]
    assert shape.index(1.0) == 2
    assert shape.count(1.0) > 10
    assert 0 < shape[-1] < 0.1
    assert score([1.0, 2.0, math.inf], 30) == math.inf


@pytest.mark.parametrize(("budget", "steps"), [(100, 0), (399, 0), (400, 12), (1000, 30), (10**6, 200), (None, 200)])
def test_steps_of_a_branch(budget: int | None, steps: int) -> None:
    assert branch_steps(budget) == steps
