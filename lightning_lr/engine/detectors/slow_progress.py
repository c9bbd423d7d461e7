"""Slow progress: the direction is right, but the steps are so small that the run will not arrive."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.statistics import mean
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class SlowProgressDetector(Detector):
    """Finds steps that hardly move the weights, by either of two measurements.

    * ``critical_ratio`` of ``CriticalRatio``: how many times the last update could be repeated before it no longer
      pays. Yes where the mean of the newest ``window`` values is at least ``far``, unless the training loss rises. It
      is free of noise between batches, so the loss need not be seen to fall.
    * ``update_ratio`` of ``UpdateRatio``, ‖Δw‖/‖w‖ of one step, where there is no critical ratio. Healthy training is
      near 1e-3, whatever the optimizer. Yes where the mean of the newest values is below ``low`` and the training loss
      falls beyond its error; undecided where the loss does not tell; no where training no longer improves, since a run
      that has arrived moves little as well.

    Args:
        far: critical ratio from which on the rate is far too low. 30: on seven tasks it was at least 60 at a tenth of
            the best rate of AdamW, and at most 22 at the best; single values at the best lie below 10.
        low: ratio below which steps are small. 1e-4: a tenth of the rule of thumb; on digits the ratio was 6e-5 at a
            fortieth of the best rate, and 2e-3 at the best.
        window: values, in checks. 3: both hardly vary from check to check where the rate is far too low.

    Source:
        Critical ratio: docs/decisions/0008-critical-ratio.md. Update ratio: A. Karpathy, lectures on training networks.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> ratio, train, detector = MetricHistory("update_ratio"), MetricHistory("train_loss"), SlowProgressDetector()
    >>> for check in range(6):
    ...     probes = {"update_ratio": ratio.update(2e-5, check)}
    ...     (finding,) = detector.examine(MetricViews(check, (), train.update(2 - 0.01 * check, check), probes=probes))
    >>> print(finding.verdict, finding.reason)
    yes each step moves the weights by only 0.002 % while the training loss still falls
    """

    condition = Condition.SLOW_PROGRESS
    precedence = 80  # a raise is considered only if nothing calls for a cut
    color, mark = "#007a5a", "triangle-right"

    far: float = 30.0
    low: float = 1e-4
    window: int = 3

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding for the network as a whole; none where nothing measures its steps."""
        if views.train is None:
            return ()
        for name, find in (("critical_ratio", self._by_critical_ratio), ("update_ratio", self._by_update_ratio)):
            measured = views.probes.get(name)
            if measured is not None and measured.fresh and measured.values:
                return (find(measured, mean(measured.values[-self.window :]), views.train),)
        return ()

    def _by_critical_ratio(self, kappa: MetricView, level: float, train: MetricView) -> Finding:
        known = len(kappa.values) >= self.window
        verdict = Verdict.YES if known else Verdict.UNDECIDED
        no = level < self.far or train.trend.rising is Verdict.YES
        return self.finding(
            Verdict.NO if no else verdict, kappa.name, level / self.far, 1.0, critical_ratio=level, far=self.far
        )

    def _by_update_ratio(self, ratio: MetricView, level: float, train: MetricView) -> Finding:
        known = len(ratio.values) >= self.window and train.trend.improving is Verdict.YES
        no = level >= self.low or train.trend.improving is Verdict.NO
        verdict = Verdict.NO if no else Verdict.YES if known else Verdict.UNDECIDED
        score = self.low / level if level > 0 else float("inf")
        return self.finding(verdict, ratio.name, score, 1.0, update_ratio=level, low=self.low)

    def describe(self, finding: Finding) -> str:
        """The measurement that decided."""
        if "critical_ratio" in finding.evidence:
            level = finding.evidence["critical_ratio"]
            return f"each update could be repeated {level:.3g} times before it no longer paid"
        level = finding.evidence["update_ratio"]
        return f"each step moves the weights by only {100 * level:.2g} % while the training loss still falls"
