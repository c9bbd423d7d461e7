"""What a detector is: a question about the signals of one check, answered with a score and a sentence.

Detectors hold settings, never memory: what they need of the past is in the signals. That makes each decision
recomputable from what was recorded, and leaves nothing of theirs to save.
"""

from __future__ import annotations

from typing import Protocol

from lightning_lr.engine.history.statistics import mean
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict


class Detector(Protocol):
    """Anything with a condition and an ``examine`` is a detector; see docs/how-to-add-a-detector.md."""

    @property
    def condition(self) -> Condition:
        """The one condition that this detector looks for."""
        ...

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """Answer for each series that the question applies to; empty where it cannot be asked at this check."""
        ...


def stands_still(train: MetricView | None, window: int = 5, share: float = 0.02) -> Verdict:
    """Whether the training loss has stopped: its last gain is a small share of all that it has gained.

    Args:
        train: the training series; without one it cannot be told.
        window: values whose mean is compared with that of as many before, in checks.
        share: of the gain of the run, 0 to 1. 0.02 in five checks: what is left is worth less than waiting for it.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> tracker = MetricHistory("train_loss")
    >>> told = [str(stands_still(tracker.update(max(0.2, 2 - 0.2 * check), check))) for check in range(20)]
    >>> told[8], told[9], told[-1]
    ('undecided', 'no', 'yes')
    """
    if train is None or len(train.values) < 2 * window:
        return Verdict.UNDECIDED
    last = mean(train.values[-2 * window : -window]) - mean(train.values[-window:])
    return Verdict.YES if last <= share * train.gain else Verdict.NO
