"""Oscillation: steps across the valley and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_lr.engine.detectors.base import Detector, loss_stands_still
from lightning_lr.engine.history.statistics import mean
from lightning_lr.engine.records import Finding, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class OscillationDetector(Detector):
    """Finds gradients of successive steps that oppose each other, while training gets nowhere.

    ``relative_disparity`` of ``GradientDisparity``, Σ‖g₁ − g₂‖²/Σ(‖g₁‖² + ‖g₂‖²), is above 1 exactly where the inner
    product g₁·g₂ of successive gradients is negative on the whole: each step undoes some of the one before. It hovers
    a little below 1 where noise rules, and near 0 where all batches agree. A mean that lies above 1 by ``margin`` and
    by ``steep`` standard errors, over ``window`` checks in which the training loss stands still, is oscillation.

    Drawn without replacement from few samples, successive batches oppose each other by themselves: batches of b from N
    put the mean at up to 1 + b/(N − b). Where that exceeds ``margin``, only a standing loss keeps it from an alarm.

    Args:
        margin: how far above 1, 0 to 1. 0.05: a stationary run at a sound rate lies within it.
        steep: standard errors. 3: it is asked at every check.
        window: values, in checks. 5: the error of a mean is not known from fewer.

    References:
        G. Ch. Pflug, "Non-asymptotic confidence bounds for stochastic approximation algorithms with constant step
        size", 1990: the sign of successive inner products separates the approach from the stationary phase.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> opposed, train, detector = MetricHistory("relative_disparity"), MetricHistory("loss"), OscillationDetector()
    >>> for check in range(10):
    ...     probes = {"relative_disparity": opposed.update(1.4 + 0.01 * (check % 2), check)}
    ...     (finding,) = detector.examine(MetricViews(check, (), train.update(1.0, check), probes=probes))
    >>> print(finding.verdict, finding.reason.partition(":")[0])
    yes successive gradients oppose each other
    """

    condition = Condition.OSCILLATION
    precedence = 40  # it explains why the metric does not improve: before a plateau
    color, mark = "#2e8fc4", "hourglass"

    margin: float = 0.05
    steep: float = 3.0
    window: int = 5

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding for the network as a whole; none where nothing measures its gradients."""
        opposed, ratio = views.probes.get("relative_disparity"), views.probes.get("update_ratio")
        if opposed is None or not opposed.fresh or not opposed.values:
            return ()
        recent = opposed.values[-self.window :]
        level, error = mean(recent), _error(recent)
        flat = loss_stands_still(views.train)
        return (
            self.finding(
                self._verdict(len(recent), level, error, flat),
                opposed.name,
                level,
                1 + self.margin,
                relative_disparity=level,
                relative_disparity_error=error,
                loss_stands_still=float(flat is Verdict.YES),
                update_ratio=ratio.values[-1] if ratio and ratio.values else math.nan,
            ),
        )

    def describe(self, finding: Finding) -> str:
        """How far apart successive gradients are, and how far a step moves the weights, if that is measured."""
        ratio = finding.evidence["update_ratio"]
        update = "" if math.isnan(ratio) else f", each step moving the weights by {100 * ratio:.2g} %"
        return (
            f"successive gradients oppose each other: {finding.score:.3g} of their size apart, where 1 is no "
            f"relation{update}; training gets nowhere"
        )

    def _verdict(self, points: int, level: float, error: float, flat: Verdict) -> Verdict:
        if level <= 1 + self.margin or flat is Verdict.NO:
            return Verdict.NO
        certain = points == self.window and level - 1 > self.steep * error
        return flat if certain else Verdict.UNDECIDED


def _error(values: tuple[float, ...]) -> float:
    """Standard error of the mean; infinite for a single value."""
    if len(values) < 2:
        return math.inf
    middle = mean(values)
    return math.hypot(*(value - middle for value in values)) / math.sqrt((len(values) - 1) * len(values))
