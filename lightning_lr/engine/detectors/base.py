"""What a detector is: a question about the metrics of one check, answered with a score, and a sentence on demand.

A detector holds settings, never memory: what it needs of the past is in the views. That makes each decision
recomputable from what was recorded, and leaves nothing of a detector to save.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

from lightning_lr.engine.history.statistics import mean
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict

MARKS = frozenset(
    {"circle", "square", "triangle-up", "diamond", "x", "cross", "hourglass", "triangle-right", "pentagon", "star"}
)
"""Shapes that the TensorBoard tab can draw, by plotly's names."""


class Detector(ABC):
    """Base class of all detectors; how to write one stands in docs/how-to/add-a-detector.md.

    A subclass sets the class attributes. Two detectors of the same condition must agree on all of them.

    Attributes:
        condition: what it looks for, one word (``late_spike``); a plain string will do. It is the name in the journal,
            in the loggers and in the policy's table of responses.
        precedence: if several conditions hold at one check, the one with the lowest number is acted on. The built-in
            ones have 10 (``non_finite``) to 90 (``improving``); the default comes just before ``plateau`` (70).
        votes: whether the monitors vote on it (``vote="majority"``); else one finding is enough.
        urgent: whether the policy's response is given at once, without patience, cooldown or warm-up checks.
        color: of its marks in reports, figures and the TensorBoard tab, as ``#rrggbb``.
        mark: shape of its marks in the TensorBoard tab, one of :data:`MARKS`.
    """

    condition: Condition
    precedence: int = 65
    votes: bool = False
    urgent: bool = False
    color: str = "#5a6470"
    mark: str = "cross"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if isinstance(cls.__dict__.get("condition"), str):
            cls.condition = Condition(cls.condition)

    @abstractmethod
    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """Answer for each series that the question applies to; empty if it cannot be asked at this check.

        Args:
            views: every metric of the check with its recent values, noise, trend and best.
        """

    def rules_out(self, views: MetricViews) -> bool:
        """Whether each finding of :meth:`examine` would surely be no, by a cheaper look; it is then made if it is read.

        False if there would be none. To override it is never necessary.
        """
        return False

    @abstractmethod
    def describe(self, finding: Finding) -> str:
        """The sentence of a finding, from its numbers alone; made only if it is read."""

    def finding(self, verdict: Verdict, monitor: str, score: float, threshold: float, **evidence: float) -> Finding:
        """A finding of this detector.

        Args:
            verdict: yes, no, or undecided: undecided counts towards the patience and never acts.
            monitor: name of the series.
            score: the test statistic.
            threshold: the value of the score from which on the answer is yes.
            evidence: all further numbers that the sentence or a reader of the journal needs.
        """
        return Finding(self.condition, verdict, monitor, score, threshold, self.describe, evidence)

    def stated(self, probability: float, views: MetricViews, view: MetricView, **evidence: float) -> Finding:
        """A finding with a probability: yes from ``views.min_probability`` on, undecided from 0.5 on.

        Args:
            probability: that it is so; NaN if it cannot be told yet, which is undecided unless there is a new best.
            views: of the check.
            view: the series.
            evidence: as in :meth:`finding`; what is NaN is left out, since it says nothing.
        """
        if probability >= views.min_probability:
            verdict = Verdict.YES
        else:
            known = not math.isnan(probability)
            verdict = Verdict.NO if (probability < 0.5 if known else view.since_low == 0) else Verdict.UNDECIDED
        known_evidence = {name: number for name, number in evidence.items() if number == number}
        threshold, describe = views.min_probability, self.describe
        return Finding(
            self.condition, verdict, view.name, probability, threshold, describe, known_evidence, probability
        )


@dataclass(frozen=True)
class RecordedDetector(Detector):
    """A detector that a journal names: how it ranks and looks is known, what it computes is not.

    Attributes:
        name: its class.
        condition: what it looks for.
        precedence: as recorded; so are all others.
    """

    name: str
    condition: Condition
    precedence: int
    votes: bool
    urgent: bool
    color: str
    mark: str

    @classmethod
    def of(cls, detector: Detector) -> RecordedDetector:
        """What a journal keeps of a detector."""
        name = detector.name if isinstance(detector, RecordedDetector) else type(detector).__name__
        return cls(name, *(getattr(detector, field.name) for field in fields(cls)[1:]))

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """Nothing: its code is not here."""
        return ()

    def describe(self, finding: Finding) -> str:
        """Never called, since it finds nothing."""
        raise NotImplementedError


def loss_stands_still(train: MetricView | None, window: int = 5, share: float = 0.02) -> Verdict:
    """Whether the training loss has stopped: its last gain is a small share of all that it has gained.

    Args:
        train: the training series; without one the answer is undecided.
        window: values whose mean is compared with that of as many before, in checks.
        share: of the gain of the run, 0 to 1. 0.02 in five checks: what is left is worth less than waiting for it.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> history = MetricHistory("train_loss")
    >>> answers = [str(loss_stands_still(history.update(max(0.2, 2 - 0.2 * check), check))) for check in range(20)]
    >>> answers[8], answers[9], answers[-1]
    ('undecided', 'no', 'yes')
    """
    if train is None or len(train.values) < 2 * window:
        return Verdict.UNDECIDED
    last = mean(train.values[-2 * window : -window]) - mean(train.values[-window:])
    return Verdict.YES if last <= share * train.gain else Verdict.NO
