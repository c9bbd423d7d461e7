"""Loss spike: one sudden excursion of the training loss that comes back by itself."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_lr.core.records import Finding, Signal, Signals
from lightning_lr.core.statistics import robust_level
from lightning_lr.core.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class LossSpikeDetector:
    """Finds an excursion among the newest blocks, in units of robust noise.

    z = (highest of the newest blocks − median)/deviation, the deviation from the median absolute deviation, which a
    spike cannot inflate. Yes where z passes the threshold and the last block is back near the median;
    undecided while it is still up, since it may be the beginning of a divergence; no otherwise.

    Args:
        excursion: z from which on a block is a spike. 6, as OLMo-core's SkipStep: about once in 10⁹ normal blocks.
        back: z below which the loss counts as back.
        fewest: blocks needed for a median that means something.

    >>> from lightning_lr.core.signals import SignalTracker
    >>> blocks, detector = SignalTracker("train_loss"), LossSpikeDetector()
    >>> noisy = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.1, 0.9, 1.05, 0.95, 5.0, 1.0]
    >>> for check, loss in enumerate(noisy):
    ...     signal = blocks.update(loss, check)
    >>> for finding in detector.examine(Signals(11, (), blocks=signal)):
    ...     print(finding)
    loss_spike: yes (the training loss jumped to 5, 54 deviations above its median 1, and came back)
    """

    excursion: float = 6.0
    back: float = 3.0
    fewest: int = 10
    condition: Condition = Condition.LOSS_SPIKE

    def examine(self, signals: Signals) -> tuple[Finding, ...]:
        """One finding on the blocks of the training loss; none without enough of them."""
        if signals.blocks is None or len(signals.blocks.values) < self.fewest:
            return ()
        newest = len(signals.window.blocks) if signals.window else 2
        return (self._examine(signals.blocks, max(2, newest)),)

    def _examine(self, series: Signal, newest: int) -> Finding:
        middle, deviation = robust_level(series.values)
        deviation = deviation or 1e-12 * max(1.0, abs(middle))
        peak = max(series.values[-newest:])
        score = (peak - middle) / deviation
        settled = (series.values[-1] - middle) / deviation < self.back
        return Finding(
            condition=self.condition,
            verdict=self._verdict(score, settled),
            monitor=series.name,
            score=score,
            threshold=self.excursion,
            reason=(
                f"the training loss jumped to {peak:.4g}, {score:.0f} deviations above its median {middle:.4g}, "
                f"and {'came back' if settled else 'is still up'}"
            ),
            evidence={"peak": peak, "median": middle, "deviation": deviation},
        )

    def _verdict(self, score: float, settled: bool) -> Verdict:
        if score <= self.excursion:
            return Verdict.NO
        return Verdict.YES if settled else Verdict.UNDECIDED
