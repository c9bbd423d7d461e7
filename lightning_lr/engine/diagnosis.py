"""Findings → one diagnosis, by a written order of precedence and a vote of the monitors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from lightning_lr.engine.records import Diagnosis, Finding, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict, Vote

PRECEDENCE = (
    # Without finite numbers nothing else can be told.
    Condition.NON_FINITE,
    # Lost ground makes every statement about generalization void.
    Condition.DIVERGENCE,
    # An overfit run also shows no new best; the plateau would be the wrong cure.
    Condition.OVERFITTING,
    Condition.OSCILLATION,
    Condition.INCOHERENCE,
    # A spike that came back explains a check without a new best.
    Condition.LOSS_SPIKE,
    Condition.PLATEAU,
    Condition.SLOW_PROGRESS,
    Condition.IMPROVING,
    # It only says something: whatever is acted on comes first.
    Condition.CONVERGED,
)
"""Which condition is acted on where several hold, first wins; each line says why it stands before those below."""

VOTED = frozenset({Condition.OVERFITTING, Condition.PLATEAU, Condition.CONVERGED, Condition.IMPROVING})
"""Conditions on which the monitors vote. The others are facts about the training, or alarming on any monitor."""


def diagnose(findings: Sequence[Finding], views: MetricViews, vote: Vote = Vote.MAJORITY) -> Diagnosis:
    """The highest-ranking condition that holds.

    Args:
        findings: everything the detectors said at this check.
        views: what they looked at; its fresh monitors are those that may vote.
        vote: how many of them must agree.
    """
    voters = max(1, len(views.fresh))
    possible = [f for f in findings if f.verdict is not Verdict.NO]
    suspected = _carried(possible, voters, vote)
    ayes = [f for f in possible if f.verdict is Verdict.YES]
    holding = _carried(ayes, voters, vote)
    condition = min(holding, key=PRECEDENCE.index, default=Condition.HEALTHY)
    return Diagnosis.deferred(
        partial(_told, condition, ayes, views, vote),
        condition=condition,
        findings=tuple(findings),
        suspected=suspected,
    )


def _told(condition: Condition, ayes: Sequence[Finding], views: MetricViews, vote: Vote) -> Mapping[str, Any]:
    """The sentences of the condition that is acted on, and of what single monitors say beside it."""
    voters = max(1, len(views.fresh))
    reasons = [f.reason for f in ayes if f.condition is condition]
    if condition in VOTED and len(reasons) < voters:
        reasons[-1] += f" ({shares(len(reasons), voters)})"
    alone = [f for f in ayes if f.condition in VOTED - _carried(ayes, voters, vote)]
    reasons = reasons or [str(views)]
    reasons += [
        f"{f.condition} on {f.monitor} ({shares(sum(f.condition is g.condition for g in alone), voters)}; {vote} must "
        f"agree): {f.reason}"
        for f in alone
    ]
    return {"reason": "; ".join(reasons)}


def _carried(ayes: Sequence[Finding], voters: int, vote: Vote) -> frozenset[Condition]:
    """The conditions that these findings are enough for."""
    if not ayes:
        return frozenset()
    named = [f.condition for f in ayes]
    return frozenset(
        c for c in set(named) if c in PRECEDENCE and (c not in VOTED or enough(named.count(c), voters, vote))
    )


def shares(ayes: int, voters: int) -> str:
    """How many of the sets say so, in words.

    >>> shares(1, 3), shares(2, 3)
    ('alone of 3 sets', '2 of 3 sets')
    """
    return f"alone of {voters} sets" if ayes == 1 else f"{ayes} of {voters} sets"


def enough(ayes: int, voters: int, vote: Vote) -> bool:
    """Whether that many votes carry; half of an even number is no majority.

    >>> [enough(1, 2, vote) for vote in (Vote.ANY, Vote.MAJORITY, Vote.ALL)]
    [True, False, False]
    """
    if vote is Vote.ANY:
        return ayes >= 1
    return ayes >= (voters if vote is Vote.ALL else voters // 2 + 1)
