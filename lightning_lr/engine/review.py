"""What a change of the learning rate brought: the one definition, for console, journal, report and TensorBoard tab.

Every change is reviewed after three checks, or when the next change comes before. A raise is undone, exactly, unless
the run then improves faster than before; all other changes stay, and what they brought is recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from lightning_lr.engine.decisions import Proposal, from_finding
from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.policies.policy import Response
from lightning_lr.engine.records import Decision, Finding, JournalEntry, MetricView, Reading, Review
from lightning_lr.engine.vocabulary import Action, Condition, Event, Verdict

REVIEW_CHECKS = 3
"""Checks after which a change is reviewed, and before it that it is compared with: as many as a plateau takes. The
first alone would be the loss soon after, which rises with most raises that turn out well (short-horizon bias, Wu et al.
2018)."""


@dataclass(frozen=True)
class PendingReview:
    """A change that is still to be reviewed.

    Attributes:
        check: number of the check at which it was made.
        action: what was done.
        condition: what it answered.
        factor: multiplier of the learning rate.
        gain_before: mean oriented gain a check before it, ≥ 0.
        gain_expected: mean oriented gain a check until its review, had nothing been done.
        best: oriented best value of the first monitor at that time.
        checks: checks with a value of the monitor since then.
    """

    check: int
    action: Action
    condition: Condition
    factor: float
    gain_before: float
    gain_expected: float
    best: float
    checks: int = 0

    @classmethod
    def of(cls, decision: Decision, monitor: MetricView) -> PendingReview:
        """What the next checks are compared with: the gains of those before."""
        recent = monitor.values[-REVIEW_CHECKS - 1 :]
        gains = [earlier - later for earlier, later in pairwise(recent)]
        return cls(
            check=decision.check,
            action=decision.action,
            condition=decision.condition,
            factor=decision.factor,
            gain_before=max(0.0, sum(gains)) / max(1, len(gains)),
            gain_expected=continued(gains),
            best=monitor.best,
        )

    @property
    def is_due(self) -> bool:
        """Whether its time has come."""
        return self.checks >= REVIEW_CHECKS

    @property
    def is_raise(self) -> bool:
        """Whether it is undone if it does not help."""
        return self.action is Action.RAISE

    def counted(self, monitor: MetricView) -> PendingReview:
        """The same, one check later."""
        return replace(self, checks=self.checks + 1) if monitor.fresh else self

    def review(self, monitor: MetricView) -> Review:
        """What it has brought so far. A raise shall bring a faster gain, within all its checks; the rest a new best."""
        gain = max(0.0, self.best - monitor.best) / max(1, self.checks)
        faster = gain > self.gain_expected and self.is_due
        return Review(
            check=self.check,
            action=self.action,
            condition=self.condition,
            factor=self.factor,
            monitor=monitor.name,
            helped=faster if self.is_raise else gain > 0,
            gain_before=self.gain_before,
            gain_expected=self.gain_expected,
            gain_after=gain,
            checks=self.checks,
        )

    def to_plain(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"action": self.action.value, "condition": str(self.condition)}

    @classmethod
    def from_plain(cls, state: Mapping[str, Any]) -> PendingReview:
        """What :meth:`to_plain` was made of."""
        return cls(**{**state, "action": Action(state["action"]), "condition": Condition(state["condition"])})


def continued(gains: Sequence[float]) -> float:
    """Mean gain of the next checks if the run just goes on: every healthy descent slows down.

    The gains are continued as they fell, geometrically; their mean is taken if they did not fall steadily. To expect
    of a raise more than the mean of those before it would undo good ones: the faster the descent, the more it slows.

    >>> continued([0.3, 0.15, 0.075]), continued([0.1, 0.1, 0.1]), continued([0.2, -0.1, 0.2])
    (0.021875, 0.1, 0.1)
    """
    average = max(0.0, sum(gains)) / max(1, len(gains))
    if len(gains) < 2 or min(gains) <= 0:
        return _without_rounding(average)
    ratio = math.exp(min(0.0, math.log(gains[-1]) - math.log(gains[0])) / (len(gains) - 1))
    ahead = sum(gains[-1] * ratio**check for check in range(1, REVIEW_CHECKS + 1)) / REVIEW_CHECKS
    return _without_rounding(min(average, ahead))


def _without_rounding(gain: float) -> float:
    """Twelve digits, whatever the unit: equal gains are then equal."""
    return float(f"{gain:.12g}")


def undo(review: Review | None, reading: Reading) -> Proposal | None:
    """The proposal to undo a raise that did not help; ``None`` in any other case."""
    if review is None or review.action is not Action.RAISE or review.helped:
        return None
    finding = Finding(
        review.condition, Verdict.NO, review.monitor, review.gain_after, review.gain_expected, str(review)
    )
    action = Action.REDUCE if reading.snapshot_check is None else Action.RESTORE
    return from_finding(reading, finding, Response(action, 1 / review.factor), f"review of check {review.check}")


def is_carried_out(line: JournalEntry | JournalLine) -> bool:
    """Whether a decision to scale or restore changed anything; nothing changes in a dry run."""
    changed = line.adjustment.restored or line.adjustment.rates != line.reading.rates
    return changed or not {"scale", "restore"}.intersection(line.decision.steps)


def is_reviewed(line: JournalEntry | JournalLine) -> bool:
    """Whether a review follows: not that of a first learning rate, of the planned end, of a stop, or in a dry run."""
    at_check = line.event in (Event.CHECK, Event.TRAIN_CHECK)
    return at_check and line.decision.action is not Action.STOP and is_carried_out(line)
