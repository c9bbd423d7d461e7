"""Plateau: next to nothing more is to be gained at this learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_lr.engine import text
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.stall import FEWEST
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.vocabulary import Condition


@dataclass(frozen=True)
class PlateauDetector(Detector):
    """States the probability that a monitor has next to nothing more to gain, as less than a hundredth of all its gain.

    The rule is in :mod:`~lightning_lr.engine.history.stall`: how long ago the lowest values were, for the length of the
    run, and whether the newest values rise; on a calm run, what its last half has gained of all. A monitor that moves
    in steps (an accuracy) must have stalled together with the held-out loss beside it.

    The verdict is yes from ``views.min_probability`` on, undecided from 0.5 on and before the fifth value since the
    last adjustment, and no below 0.5.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> history, detector = MetricHistory("val_loss"), PlateauDetector()
    >>> losses = [1.0, 0.8, 0.7, 0.65, 0.64, 0.65, 0.66, 0.65, 0.67, 0.66, 0.65, 0.66, 0.67, 0.66, 0.66]
    >>> for check, loss in enumerate(losses):
    ...     (finding,) = detector.examine(MetricViews(check, (history.update(loss, check),)))
    >>> print(finding)
    plateau: yes (no new best of val_loss for 10 of 15 checks (best 0.64 at check 4); stalled (95 % likely))
    """

    condition = Condition.PLATEAU
    precedence = 70  # it only says that no gain is seen; the conditions before it say why
    votes = True
    color, mark = "#0072b2", "circle"

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding for each fresh monitor."""
        return tuple(self._examine(views, view) for view in views.fresh)

    def rules_out(self, views: MetricViews) -> bool:
        """Whether no monitor has stalled more probably than not."""
        fresh = views.fresh
        return bool(fresh) and all(views.stall(view).probability < 0.5 for view in fresh)

    def _examine(self, views: MetricViews, view: MetricView) -> Finding:
        stall = views.stall(view)
        return self.stated(
            stall.probability,
            views,
            view,
            checks=float(view.count),
            since_best=float(view.since_low),
            best=view.shown(view.low),
            best_check=float(view.low_check),
            by_ages=stall.by_ages,
            last_half=stall.last_half,
            known_checks=float(min(stall.checks, FEWEST)),
            fewest=float(FEWEST),
        )

    def describe(self, finding: Finding) -> str:
        """For how long there was no new best; of a calm run, what its last half has gained."""
        known = finding.evidence
        if math.isnan(finding.score):
            return text.cannot_tell_yet(known["known_checks"], known["fewest"])
        if known["by_ages"] < finding.score:
            why = text.last_half(finding.monitor, known["last_half"])
        else:
            why = text.no_new_best(
                finding.monitor, *map(known.__getitem__, ("since_best", "checks", "best", "best_check"))
            )
        return text.probably("stalled", finding.score, why)
