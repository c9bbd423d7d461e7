"""Findings → the one condition that is acted on."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_lr.engine.detectors import default_detectors
from lightning_lr.engine.diagnosis import diagnose as diagnose_with
from lightning_lr.engine.diagnosis import votes_needed
from lightning_lr.engine.history.metric_history import MetricHistory
from lightning_lr.engine.records import Finding, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict, Vote
from tests.helpers.readings import NAN

C = Condition
DETECTORS = {detector.condition: detector for detector in default_detectors()}
VOTED = {condition for condition, detector in DETECTORS.items() if detector.votes}
VOCABULARY = [C(name.lower()) for name in vars(C) if name.isupper() and name != "HEALTHY"]
PRECEDENCE = [
    C.NON_FINITE, C.DIVERGENCE, C.OVERFITTING, C.OSCILLATION, C.INCOHERENCE, C.LOSS_SPIKE, C.PLATEAU, C.SLOW_PROGRESS,
    C.IMPROVING,
]  # fmt: skip
VERDICTS = {"y": Verdict.YES, "n": Verdict.NO, "u": Verdict.UNDECIDED}


def finding(condition: Condition, letter: str, monitor: str = "a") -> Finding:
    return Finding(condition, VERDICTS[letter], monitor, 1.0, 1.0, f"{condition} on {monitor}")


def views(fresh: str = "a", stale: str = "") -> MetricViews:
    """Monitors with one-letter names."""
    brought = [MetricHistory(name).update(1.0, 0) for name in fresh]
    return MetricViews(0, tuple(brought + [MetricHistory(name).update(None, 0) for name in stale]))


def diagnose(findings, views, vote=Vote.MAJORITY):
    return diagnose_with(findings, views, DETECTORS, vote)


def test_the_votes_and_what_is_urgent():
    """Of the conditions that the vocabulary names; the test of another one says it for that one."""
    assert sorted(PRECEDENCE) == sorted(VOCABULARY)
    assert {C.OVERFITTING, C.PLATEAU, C.IMPROVING} == VOTED.intersection(VOCABULARY)
    urgent = {c for c, detector in DETECTORS.items() if detector.urgent}
    assert urgent.intersection(VOCABULARY) == {C.NON_FINITE, C.DIVERGENCE}


@pytest.mark.parametrize("detector", default_detectors(), ids=lambda detector: type(detector).__name__)
def test_detectors_of_one_condition_rank_alike(detector):
    other = DETECTORS[detector.condition]
    for name in ("precedence", "votes", "urgent", "color", "mark"):
        assert getattr(detector, name) == getattr(other, name), name


@pytest.mark.parametrize(("upper", "lower"), [*combinations(PRECEDENCE, 2)])
def test_of_two_that_hold_the_higher_rank_is_acted_on(upper, lower):
    diagnosis = diagnose([finding(lower, "y"), finding(upper, "y")], views())
    assert diagnosis.condition is upper
    assert diagnosis.reason == f"{upper} on a"


@pytest.mark.parametrize(
    ("why", "letters", "condition", "suspected"),
    [
        ("nothing was asked", "", C.HEALTHY, set()),
        ("no", "n", C.HEALTHY, set()),
        ("yes", "y", C.PLATEAU, {C.PLATEAU}),
        ("undecided is suspected and not acted on", "u", C.HEALTHY, {C.PLATEAU}),
    ],
)
def test_one_finding(why, letters, condition, suspected):
    diagnosis = diagnose([finding(C.PLATEAU, letter) for letter in letters], views())
    assert (diagnosis.condition, diagnosis.suspected) == (condition, suspected), why


def test_an_undecided_condition_of_higher_rank_does_not_hide_one_that_holds():
    diagnosis = diagnose([finding(C.OVERFITTING, "u"), finding(C.PLATEAU, "y")], views())
    assert diagnosis.condition is C.PLATEAU
    assert diagnosis.suspected == {C.OVERFITTING, C.PLATEAU}


@pytest.mark.parametrize(
    ("verdicts", "any_", "majority", "all_"),
    [
        # one letter a monitor; then: does the condition hold by "any", "majority", "all"?
        ("y", True, True, True),
        ("n", False, False, False),
        ("yn", True, False, False),  # half is no majority
        ("yy", True, True, True),
        ("ynn", True, False, False),
        ("yyn", True, True, False),
        ("yyy", True, True, True),
        ("yyu", True, True, False),  # undecided is no aye
        ("yuu", True, False, False),
        ("nnn", False, False, False),
        ("y-", True, True, True),  # a monitor that brought nothing fresh has no vote
        ("yn-", True, False, False),
    ],
)
@pytest.mark.parametrize("condition", sorted(VOTED))
def test_the_vote_of_one_two_and_three_monitors(condition, verdicts, any_, majority, all_):
    fresh = [(name, letter) for name, letter in zip("abc", verdicts, strict=False) if letter != "-"]
    findings = [finding(condition, letter, name) for name, letter in fresh]
    seen = views("".join(name for name, _ in fresh), "z" * verdicts.count("-"))
    held = [diagnose(findings, seen, vote).condition is condition for vote in (Vote.ANY, Vote.MAJORITY, Vote.ALL)]
    assert held == [any_, majority, all_]


@pytest.mark.parametrize("condition", sorted(set(PRECEDENCE) - VOTED))
def test_what_is_no_matter_of_opinion_holds_where_one_monitor_says_so(condition):
    findings = [finding(condition, "n", "a"), finding(condition, "y", "b"), finding(condition, "n", "c")]
    assert diagnose(findings, views("abc"), Vote.ALL).condition is condition


def test_the_sets_that_voted_yes_are_named_and_the_others_are_not():
    findings = [finding(C.OVERFITTING, letter, name) for name, letter in zip("abc", "yny", strict=True)]
    assert diagnose(findings, views("abc")).reason == "overfitting on a; overfitting on c (2 of 3 sets)"


def test_with_nothing_fresh_nothing_is_voted():
    assert diagnose([], views("", "ab"), Vote.ANY).condition is C.HEALTHY


@pytest.mark.parametrize(
    ("fresh", "stale", "reason"),
    [
        ("a", "", "a 1, best 1 (0 checks ago), slope not known yet (1 value)"),
        ("", "a", "a has no new value, no finite value yet, slope not known yet (0 values)"),
    ],
)
def test_a_healthy_check_says_where_the_monitors_stand(fresh, stale, reason):
    diagnosis = diagnose([finding(C.PLATEAU, "n")], views(fresh, stale))
    assert diagnosis.reason == f"healthy: {reason}"


def stated(probability, monitor="a", condition=C.PLATEAU, checks=9):
    verdict = Verdict.YES if probability >= 0.85 else Verdict.NO if probability < 0.5 else Verdict.UNDECIDED
    return Finding(
        condition, verdict, monitor, probability, 0.85, f"told by {checks} checks", {}, probability=probability
    )


@pytest.mark.parametrize(
    ("plateau", "divergence", "said"),
    [
        (NAN, 0.1, "told by 9 checks: "),
        (0.44, 0.1, "not stalled (stalled: 44 %): "),
        (0.1, 0.2, "not diverging (diverging: 20 %): "),
        (0.7, NAN, "cannot tell; stalled (70 % likely): "),
        (0.1, 0.6, "cannot tell; diverging (60 % likely): "),
        (0.9, 0.0, "told by 9 checks"),
    ],
)
def test_a_check_says_how_sure_it_is(plateau, divergence, said):
    """Never "healthy" where the data cannot tell."""
    findings = [stated(plateau), stated(divergence, condition=C.DIVERGENCE)]
    diagnosis = diagnose(findings, views("a"))
    assert diagnosis.reason.startswith(said)
    assert "healthy" not in diagnosis.reason


@pytest.mark.parametrize(
    ("found", "any_", "majority", "all_"),
    [
        ([0.9], 0.9, 0.9, 0.9),
        ([0.9, 0.2], 0.9, 0.2, 0.2),
        ([0.9, 0.2, 0.6], 0.9, 0.6, 0.2),
        ([0.9, NAN], 0.9, None, None),
        ([NAN], None, None, None),
    ],
)
def test_the_probability_of_several_monitors_is_that_of_as_many_as_must_agree(found, any_, majority, all_):
    findings = [stated(p, name) for name, p in zip("abc", found, strict=False)]
    for vote, expected in ((Vote.ANY, any_), (Vote.MAJORITY, majority), (Vote.ALL, all_)):
        diagnosis = diagnose(findings, views("abc"[: len(found)]), vote)
        assert diagnosis.probabilities == {"plateau": expected}
        assert (diagnosis.condition is C.PLATEAU) is ((expected or 0) >= 0.85)


@given(st.integers(0, 9), st.integers(1, 9))
def test_all_implies_majority_implies_any(ayes, voters):
    ayes = min(ayes, voters)
    any_, majority, all_ = (ayes >= votes_needed(voters, vote) for vote in (Vote.ANY, Vote.MAJORITY, Vote.ALL))
    assert all_ <= majority <= any_
    assert majority == (2 * ayes > voters)
    assert any_ == (ayes > 0)
    assert all_ == (ayes == voters)
