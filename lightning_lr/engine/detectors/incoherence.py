"""Incoherence: neurons keep changing their answer to the same input, without a gain."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_lr.engine.detectors.base import Detector, loss_stands_still
from lightning_lr.engine.history.statistics import mean
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class IncoherenceDetector(Detector):
    """Finds flips that go on though the input gives no reason: what ``NeuronCoherence`` measures, set against progress.

    ``flip_rate`` is the share of (unit, sample) pairs of a fixed batch whose activation changed its sign between two
    checks. While a network learns, neurons change. Yes where over the newest ``window`` checks

    * the flips stay high: their mean is above ``high``, and they do not fall beyond their error; and
    * nothing comes of it: the training loss stands still
      (:func:`~lightning_lr.engine.detectors.base.loss_stands_still`), or the output on that batch has changed by less
      than ``still`` times the share of the neurons that changed.

    Undecided while the window is not full; and where two adjustments in a row have not lowered the flips: then another
    cut would not either, and the sentence says that the architecture may be at fault.

    Args:
        high: flip rate from which on it counts, 0 to 1. 0.02: below, a batch of 128 and a few hundred units have a
            handful of pairs near their threshold that any step tips over.
        still: relative change of the output, in flip rates, below which it counts as unmoved. 1: on digits and wine the
            output changes by three to ten times the flips; below 1 the neurons' changes cancel each other out.
        window: values of the flip rate, in checks. 5: fewer have no slope.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> flips, train, detector = MetricHistory("flip_rate"), MetricHistory("train_loss"), IncoherenceDetector()
    >>> for check in range(12):
    ...     loss, rate = 0.5 + 0.01 * (check % 2) + (check == 0), 0.08 + 0.01 * (check % 3)
    ...     probes = {"flip_rate": flips.update(rate, check)}
    ...     (finding,) = detector.examine(MetricViews(check, (), train.update(loss, check), probes=probes))
    >>> print(finding)
    incoherence: yes (9.2 % of the neurons' answers to one and the same batch change from check to check while the ...)
    """

    condition = Condition.INCOHERENCE
    precedence = 50  # likewise, with weaker evidence than opposed gradients
    color, mark = "#7a4ab0", "pentagon"

    high: float = 0.02
    still: float = 1.0
    window: int = 5

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding for the network as a whole; none where nothing measures its flips."""
        flips = views.probes.get("flip_rate")
        if flips is None or not flips.fresh or not flips.values:
            return ()
        output = views.probes.get("output_change")
        level = mean(flips.values[-self.window :])
        moved = mean(output.values[-self.window :]) if output is not None and output.values else math.nan
        flat = loss_stands_still(views.train)
        unmoved = moved < self.still * level
        failed = self._failed_adjustments(flips, level)
        return (
            self.finding(
                self._verdict(flips, level, Verdict.YES if unmoved else flat, failed),
                flips.name,
                level,
                self.high,
                flip_rate=level,
                output_change=moved,
                loss_stands_still=float(flat is Verdict.YES),
                output_is_still=float(unmoved),
                flip_rate_before=flips.before,
                failed_adjustments=float(failed),
            ),
        )

    def describe(self, finding: Finding) -> str:
        """How many answers change, in what stillness, and how often the rate was changed without effect."""
        still = "the output hardly changes" if finding.evidence["output_is_still"] else "the training loss stands still"
        failed = finding.evidence["failed_adjustments"]
        changes = "the last change of the rate" if failed == 1 else f"the last {failed:.0f} changes of the rate"
        advice = f"; {changes} did not calm them, so the architecture may be at fault" if failed else ""
        return (
            f"{100 * finding.score:.2g} % of the neurons' answers to one and the same batch change from check to "
            f"check while {still}{advice}"
        )

    def _verdict(self, flips: MetricView, level: float, idle: Verdict, failed: int) -> Verdict:
        if level < self.high or flips.trend.improving is Verdict.YES:
            return Verdict.NO
        if len(flips.values) < self.window or failed >= 2:
            return Verdict.UNDECIDED
        return idle

    def _failed_adjustments(self, flips: MetricView, level: float) -> int:
        """How many adjustments in a row have not lowered the flips by a tenth."""
        if math.isnan(flips.before):
            return 0
        return (flips.failed_adjustments if level > 0.9 * flips.before else -1) + 1
