"""Improving: every held-out set still gets better, and the updates could be larger."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.statistics import mean
from lightning_lr.engine.records import Finding, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class ImprovingDetector(Detector):
    """Finds a run that improves on a monitor while the critical ratio shows room for a higher rate.

    ``critical_ratio`` of ``CriticalRatio`` is how many times the last update could be repeated before it no longer
    pays. Yes for a monitor whose trend is improving, where the mean of the newest ``window`` ratios is at least
    ``room``. The monitors vote: with ``vote="all"`` every set must still improve.

    Args:
        room: critical ratio from which on a higher rate is worth a trial. 10: near the best rate it was below 8 on
            seven tasks, apart from the first epochs.
        window: values, in checks. 3: single ratios at the best rate reach 25.

    Source:
        The measurements behind the thresholds are in docs/decisions/0008-critical-ratio.md.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> kappa, monitor, detector = MetricHistory("critical_ratio"), MetricHistory("val_loss"), ImprovingDetector()
    >>> for check in range(8):
    ...     probes = {"critical_ratio": kappa.update(20.0, check)}
    ...     (finding,) = detector.examine(MetricViews(check, (monitor.update(1 / (check + 1), check),), probes=probes))
    >>> print(finding.verdict, finding.reason)
    yes val_loss still improves, and each update could be repeated 20 times before it no longer paid
    """

    condition = Condition.IMPROVING
    precedence = 90  # likewise, and it is the mildest reason for one
    votes = True
    color, mark = "#00704f", "star"

    room: float = 10.0
    window: int = 3

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding for each fresh monitor; none where nothing measures the critical ratio."""
        kappa = views.probes.get("critical_ratio")
        if kappa is None or not kappa.fresh or not kappa.values:
            return ()
        level = mean(kappa.values[-self.window :])
        enough = level >= self.room and len(kappa.values) >= self.window
        return tuple(
            self.finding(
                view.trend.improving if enough else Verdict.NO,
                view.name,
                level / self.room,
                1.0,
                critical_ratio=level,
                room=self.room,
            )
            for view in views.fresh
        )

    def describe(self, finding: Finding) -> str:
        """How often the last update could be repeated."""
        level = finding.evidence["critical_ratio"]
        return (
            f"{finding.monitor} still improves, and each update could be repeated {level:.3g} times before it no "
            "longer paid"
        )
