"""Runs for the tab, written by the code that a live run writes with, without training anything."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.records import (
    Adjustment,
    Decision,
    Diagnosis,
    Finding,
    JournalEntry,
    Rate,
    Reading,
    Review,
    TrainWindow,
)
from lightning_lr.engine.review import REVIEW_CHECKS
from lightning_lr.engine.vocabulary import Action, Condition, Verdict
from lightning_lr.loggers.tensorboard import TabData

# condition → what is done about it, in the order in which a long run goes through them
STORY = (
    (Condition.DIVERGENCE, Action.RESTORE, 0.3),
    (Condition.IMPROVING, Action.RAISE, 2.0),
    (Condition.PLATEAU, Action.REDUCE, 0.5),
    (Condition.OVERFITTING, Action.RESTORE, 0.5),
    (Condition.SLOW_PROGRESS, Action.RAISE, 2.0),
    (Condition.OSCILLATION, Action.REDUCE, 0.7),
    (Condition.LOSS_SPIKE, Action.REDUCE, 0.7),
    (Condition.NON_FINITE, Action.RESTORE, 0.5),
    (Condition.INCOHERENCE, Action.REDUCE, 0.8),
    (Condition.HEALTHY, Action.ANNEAL, 0.8),
)


class TabRun:
    """A run that goes on check by check, under TensorBoard's own writer.

    Args:
        folder: of the event file.
        every: checks from one decision to the next; 0 for none.
        monitor: name of the monitor.
        checks: number of the first check (a resumed run does not begin at 0).
        step_size: optimizer steps from one check to the next.
        stated: whether probabilities are stated.
    """

    def __init__(
        self,
        folder: Path,
        every: int = 7,
        monitor: str = "val_loss",
        checks: int = 0,
        step_size: int = 10,
        prefix: str = "lr_controller",
        rate: float = 0.1,
        seed: int = 0,
        stated: bool = False,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder))
        self.every, self.monitor, self.step_size = every, monitor, step_size
        self.check = checks
        self.decisions = 0
        self.rate = rate
        self.seed = seed
        self.pending: Decision | None = None
        self.stated = stated
        self.history = RunHistory((monitor,), rel_delta=1e-3)
        self.tab = TabData(prefix)

    def go(self, checks: int) -> TabRun:
        """Write so many checks more."""
        for _ in range(checks):
            entry = self.next_entry()
            self.writer.add_scalar(self.monitor, entry.reading.metrics[self.monitor], entry.reading.step)
            self.tab.write(entry, self.decisions, [self.writer])
        self.writer.flush()
        return self

    def close(self) -> None:
        self.writer.close()

    def next_entry(self) -> JournalEntry:
        check = self.check
        self.check += 1
        noise = random.Random(self.seed * 1_000_003 + check).gauss(0, 0.012)
        train = 2.2 * math.exp(-check / 60) + 0.35 + noise / 2
        value = 2.2 * math.exp(-check / 50) + 0.5 + 0.0004 * check + noise
        old = Rate(0.1, self.rate / 0.1, self.rate)
        step = (check + 1) * self.step_size - 1
        window = TrainWindow(train, (train,), self.step_size)
        reading = Reading(check, check, step, {self.monitor: value}, window, rates={"lr-SGD": old})
        views = self.history.update(reading)
        decision = self._decide(check, views.monitors[0].best_check)
        self.rate *= decision.factor
        new = Rate(0.1, self.rate / 0.1, self.rate)
        on = "train_loss" if decision.condition is Condition.LOSS_SPIKE else self.monitor
        found = Finding(decision.condition, Verdict.YES, on, 0.42, 0.25, decision.reason)
        diagnosis = Diagnosis(decision.condition, (found,), decision.reason)
        review = self._review(check)
        if decision.action is not Action.HOLD:
            self.pending = decision
        return JournalEntry(reading, views, diagnosis, decision, Adjustment({"lr-SGD": new}), review=review)

    def _review(self, check: int) -> Review | None:
        """Of the last decision, three checks later."""
        of = self.pending
        if of is None or check < of.check + REVIEW_CHECKS:
            return None
        self.pending = None
        helped, gains = of.action is not Action.RAISE, (0.012, 0.012, 0.001 * of.check)
        return Review(of.check, of.action, of.condition, of.factor, self.monitor, helped, *gains, REVIEW_CHECKS)

    def _decide(self, check: int, best: int) -> Decision:
        condition, action, factor = Condition.HEALTHY, Action.HOLD, 1.0
        reason, evidence = "healthy", {}
        if self.every and check % self.every == self.every - 1:
            condition, action, factor = STORY[self.decisions % len(STORY)]
            self.decisions += 1
            new = self.rate * factor
            reason = f"{condition}: {self.monitor} did what it does at check {check} → {action}, "
            reason += f"learning rate × {factor:g} (lr-SGD {self.rate:.4g} → {new:.4g})"
            evidence = {"score": 0.42, "threshold": 0.25, "since_best": 3.0, "slope": -0.012, "slope_error": 0.004}
            evidence |= {"way_gap": 1.0, "way_rising_strips": 0.0}
        step = (check + 1) * self.step_size - 1
        old, new = {"lr-SGD": self.rate}, {"lr-SGD": self.rate * factor}
        back = best if action is Action.RESTORE else None
        decision = Decision(check, check, step, action, condition, factor, old, new, reason, evidence, back)
        if self.stated:
            chances = {"plateau": min(1.0, check / 60), "overfitting": None if check < 10 else 0.2}
            object.__setattr__(decision, "probabilities", chances)
        return decision


def plain_run(folder: Path) -> Any:
    """A run of somebody who has never heard of us."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for step in range(5):
            writer.add_scalar("loss", 1 / (step + 1), step)
