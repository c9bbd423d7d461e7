"""What the core would have done in one recorded run: replayed as ``lightning-lr replay`` does it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.healthy.logs import Log
from lightning_lr.engine.records import Decision
from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline.replay.replay import Replayer

POLICIES = ("conservative", "auto")
"""``auto`` without exploration and without an end of its own: the schedule is the user's."""


@dataclass(frozen=True)
class Verdict:
    """One run under one policy.

    Attributes:
        log: the run.
        policy: its name.
        reductions: decisions that lower the rate; only the first rests on what really happened.
        acted: whether anything but holding was decided.
    """

    log: Log
    policy: str
    reductions: tuple[Decision, ...]
    acted: bool

    @property
    def gained_after(self) -> float:
        """Which share of all that the run gained came after the first reduction, in the run as it really was."""
        if not self.reductions:
            return 0.0
        best, before = min(self.log.val), min(self.log.val[: self.reductions[0].check + 1])
        return (before - best) / (self.log.start - best)


def judge(log: Log, policy: str) -> Verdict:
    """Replay one run."""
    replayer = Replayer(settings_from(policy=policy), as_recorded=False)
    decisions = [replayer.step(reading) for reading in log.readings]
    acted = [decision for decision in decisions if decision.action is not Action.HOLD]
    return Verdict(log, policy, tuple(decision for decision in acted if decision.factor < 1), bool(acted))


def share(verdicts: Iterable[Verdict]) -> str:
    """How many were lowered, of how many.

    >>> share([])
    'none'
    """
    verdicts = list(verdicts)
    if not verdicts:
        return "none"
    lowered = sum(bool(verdict.reductions) for verdict in verdicts)
    return f"{100 * lowered / len(verdicts):.1f} % ({lowered} of {len(verdicts)})"
