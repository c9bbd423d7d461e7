"""Slow progress: training improves, but by steps with which it will not arrive."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_lr.core.records import Finding, Signal, Signals
from lightning_lr.core.statistics import mean
from lightning_lr.core.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class SlowProgressDetector:
    """Finds steps that hardly move the weights, in a run that steadily improves.

    ``update_ratio`` of ``UpdateRatio`` is ‖Δw‖/‖w‖ of one step, the median over the layers. Healthy training is near
    1e-3, whatever the optimizer. Yes where the mean of the newest ``window`` ratios is below ``low`` and the training
    loss falls beyond its error: the direction is right, only the steps are small. Undecided where the loss does not
    tell; no where training no longer improves, since a run that has arrived moves little as well.

    Args:
        low: ratio below which steps are small. 1e-4: a tenth of the rule of thumb; on digits the ratio was 6e-5 at a
            fortieth of the best rate, and 2e-3 at the best.
        window: values, in checks. 3: the ratio hardly varies from check to check.

    Source:
        A. Karpathy, lectures on training networks: updates should be about a thousandth of the weights.

    >>> from lightning_lr.core.signals import SignalTracker
    >>> ratio, train, detector = SignalTracker("update_ratio"), SignalTracker("train_loss"), SlowProgressDetector()
    >>> for check in range(6):
    ...     probes = {"update_ratio": ratio.update(2e-5, check)}
    ...     (finding,) = detector.examine(Signals(check, (), train.update(2 - 0.01 * check, check), probes=probes))
    >>> print(finding.verdict, finding.reason)
    yes each step moves the weights by only 0.002 % while the training loss still falls
    """

    low: float = 1e-4
    window: int = 3
    condition: Condition = Condition.SLOW_PROGRESS

    def examine(self, signals: Signals) -> tuple[Finding, ...]:
        """One finding for the network as a whole; none where nothing measures its steps."""
        ratio = signals.probes.get("update_ratio")
        if ratio is None or not ratio.fresh or not ratio.values or signals.train is None:
            return ()
        level = mean(ratio.values[-self.window :])
        return (
            Finding(
                condition=self.condition,
                verdict=self._verdict(ratio, level, signals.train),
                monitor=ratio.name,
                score=self.low / level if level > 0 else float("inf"),
                threshold=1.0,
                reason=f"each step moves the weights by only {100 * level:.2g} % while the training loss still falls",
                evidence={"update_ratio": level, "low": self.low},
            ),
        )

    def _verdict(self, ratio: Signal, level: float, train: Signal) -> Verdict:
        if level >= self.low or train.trend.improving is Verdict.NO:
            return Verdict.NO
        known = len(ratio.values) >= self.window and train.trend.improving is Verdict.YES
        return Verdict.YES if known else Verdict.UNDECIDED
