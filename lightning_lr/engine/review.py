"""Every move is a hypothesis: what it should bring, and by when; here it is looked at again.

A raise is on probation: unless the run then improves faster than before, it is taken back, exactly, and the next one
has to wait twice as long. Cuts and restores are audited too; they stay, and what they brought is said and recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from lightning_lr.engine.decisions import answer
from lightning_lr.engine.policies.policy import Response
from lightning_lr.engine.records import Decision, Finding, MetricView, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Action, Condition, Verdict

DEADLINE = 3
"""Checks after which a move is judged: as many as a plateau takes. The first alone would be the loss soon after, which
rises with most raises that turn out well (short-horizon bias, Wu et al. 2018)."""

LOOKBACK = 3
"""Checks before a move whose mean gain it is compared with: as many as after it."""


@dataclass(frozen=True)
class PendingReview:
    """A move that has still to prove itself.

    Attributes:
        check: number of the check at which it was made.
        action: what was done.
        condition: what it answered.
        factor: multiplier of the learning rate.
        before: mean oriented gain a check before it, ≥ 0.
        best: oriented best value of the first monitor at that time.
        waited: checks with a value of the monitor since then.
        expected: mean oriented gain a check until its deadline, had nothing been done.
    """

    check: int
    action: Action
    condition: Condition
    factor: float
    before: float
    best: float
    waited: int = 0
    expected: float = 0.0

    @property
    def on_probation(self) -> bool:
        """Whether it will be undone if it does not help."""
        return self.action is Action.RAISE

    def after(self, monitor: MetricView) -> float:
        """Oriented gain a check since the move: how far the best has moved."""
        return max(0.0, self.best - monitor.best) / max(1, self.waited)

    def helped(self, monitor: MetricView) -> bool:
        """Whether the move brought what it should: a raise a faster gain, any other a new best."""
        gain = self.after(monitor)
        return gain > self.expected if self.on_probation else gain > 0

    def __str__(self) -> str:
        name = "reduction" if self.action is Action.REDUCE else self.action
        return f"the {name} of check {self.check}"


def hypothesis(decision: Decision, monitor: MetricView) -> PendingReview:
    """What a decision claims: that the monitor will do better than it did in the checks before."""
    recent = monitor.values[-LOOKBACK - 1 :]
    gains = [earlier - later for earlier, later in pairwise(recent)]
    return PendingReview(
        check=decision.check,
        action=decision.action,
        condition=decision.condition,
        factor=decision.factor,
        before=max(0.0, sum(gains)) / max(1, len(gains)),
        best=monitor.best,
        expected=continued(gains),
    )


def continued(gains: Sequence[float]) -> float:
    """Mean gain of the next checks if the run just goes on: every healthy descent slows down.

    The gains are continued as they fell, geometrically; their mean is taken where they did not fall steadily. To ask a
    raise for more than the mean of those before it would undo good ones: the faster the descent, the more it slows.

    >>> continued([0.3, 0.15, 0.075]), continued([0.1, 0.1, 0.1]), continued([0.2, -0.1, 0.2])
    (0.021875, 0.1, 0.1)
    """
    average = max(0.0, sum(gains)) / max(1, len(gains))
    if len(gains) < 2 or min(gains) <= 0:
        return round(average, 15)
    ratio = math.exp(min(0.0, math.log(gains[-1] / gains[0])) / (len(gains) - 1))
    ahead = sum(gains[-1] * ratio**check for check in range(1, DEADLINE + 1)) / DEADLINE
    return round(min(average, ahead), 15)


def outcome(made: PendingReview, monitor: MetricView) -> str:
    """What became of it, in words."""
    helped = "helped" if made.helped(monitor) else "did not help"
    unit, since = f"gain of {monitor.name} a check", f"{made.after(monitor):.3g} in the {made.waited} since"
    without = f" ({made.expected:.3g} expected without it)" if made.on_probation else ""
    return f"{made} {helped}: {unit} {made.before:.3g} before{without}, {since}"


def numbers(made: PendingReview, monitor: MetricView) -> dict[str, float]:
    """The same as numbers, for the evidence."""
    return {
        "reviewed_check": float(made.check),
        "review_helped": float(made.helped(monitor)),
        "gain_before": made.before,
        "gain_expected": made.expected,
        "gain_after": made.after(monitor),
    }


def undone(made: PendingReview | None, reading: Reading, monitor: MetricView, settings: Settings) -> Decision | None:
    """The decision to take a raise back whose time is up and that did not help; ``None`` in any other case."""
    if made is None or not made.on_probation or made.helped(monitor):
        return None
    after, said = made.after(monitor), outcome(made, monitor)
    finding = Finding(made.condition, Verdict.NO, monitor.name, after, made.expected, said)
    action = Action.REDUCE if reading.snapshot_check is None else Action.RESTORE
    return answer(reading, finding, Response(action, 1 / made.factor), settings)


def with_outcome(decision: Decision, made: PendingReview | None, monitor: MetricView) -> Decision:
    """The decision of the check at which a move was audited, with what came of it among its numbers."""
    if made is None:
        return decision
    said = decision.reason if decision.action is not Action.HOLD else f"{decision.reason}; {outcome(made, monitor)}"
    return replace(decision, reason=said, evidence={**decision.evidence, **numbers(made, monitor)})


@dataclass
class RaiseGuard:
    """Which raises may be tried, and when: counters of one run, plain numbers, saved whole.

    Attributes:
        pending: the newest move, until its deadline.
        rejected: raises that were taken back since one was kept.
        locked: checks for which no raise may be tried.
        ceiling: applied rate at which the run diverged; no raise goes there again.
        rate: applied rate at the last check, the highest of all groups; 0 where there was none.
        still: whether it was the same at the check before: in a warm-up or a decay nothing is raised.
    """

    pending: PendingReview | None = None
    rejected: int = 0
    locked: int = 0
    ceiling: float | None = None
    rate: float = 0.0
    still: bool = False

    def tick(self, monitor: MetricView, reading: Reading) -> PendingReview | None:
        """Count a check; the move whose deadline has come, if one has."""
        now = max((rate.applied for rate in reading.rates.values()), default=0.0)
        self.rate, self.still = now, now == self.rate
        if not monitor.fresh:
            return None
        self.locked = max(0, self.locked - 1)
        if self.pending is None:
            return None
        made = replace(self.pending, waited=self.pending.waited + 1)
        self.pending = made
        if made.waited < DEADLINE:
            return None
        self.pending = None
        if made.on_probation:
            self._judged(made.helped(monitor))
        return made

    def moved(self, decision: Decision, monitor: MetricView) -> None:
        """Take note of a move; a raise that needed another before its deadline has failed."""
        if self.pending is not None and self.pending.on_probation:
            self._judged(False)
        if decision.condition in (Condition.DIVERGENCE, Condition.NON_FINITE):
            self.ceiling = min(self.rate, self.ceiling or self.rate)
        self.pending = hypothesis(decision, monitor)

    def _judged(self, helped: bool) -> None:
        self.rejected = 0 if helped else self.rejected + 1
        self.locked = 0 if helped else DEADLINE * 2**self.rejected

    def against(self, factor: float) -> str:
        """Why a raise may not be tried now; empty where it may.

        >>> RaiseGuard(locked=2).against(2.0), RaiseGuard(rate=0.1, still=True).against(2.0)
        ('the last raise did not help, 2 checks to wait', '')
        >>> RaiseGuard(rate=0.1).against(2.0), RaiseGuard(rate=0.1, still=True, ceiling=0.15).against(2.0)
        ('the rate is on the move', 'the run diverged at 0.15 before')
        """
        if self.locked:
            return f"the last raise did not help, {self.locked} check{plural(self.locked)} to wait"
        if not self.still:
            return "the rate is on the move"
        if self.ceiling is not None and self.rate * factor >= self.ceiling:
            return f"the run diverged at {self.ceiling:.2g} before"
        return ""

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        state = asdict(self)
        if self.pending is not None:
            state["pending"] |= {"action": self.pending.action.value, "condition": str(self.pending.condition)}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        saved = state["pending"]
        words = {"action": Action(saved["action"]), "condition": Condition(saved["condition"])} if saved else {}
        self.pending = PendingReview(**{**saved, **words}) if saved else None
        self.rejected, self.locked, self.ceiling = state["rejected"], state["locked"], state["ceiling"]
        self.rate, self.still = state["rate"], state["still"]
