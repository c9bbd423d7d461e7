"""Loss spike: one sudden excursion of the training loss that recovers by itself."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.statistics import middle, robust_level
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class LossSpikeDetector(Detector):
    """Finds an excursion among the newest blocks, in units of robust noise.

    z = (highest of the newest blocks − median)/deviation. The median is that of the ``memory`` blocks before the newest
    two checks: of many more, the descent itself would be their spread. The deviation is the larger of their median
    absolute deviation and the noise, neither of which a spike can inflate. Yes where z passes the threshold and the
    last block is back near the median; undecided while it is still up, since it may be the beginning of a divergence;
    no otherwise.

    Args:
        excursion: z from which on a block is a spike. 6, as OLMo-core's SkipStep: about once in 10⁹ normal blocks.
        back: z below which the loss counts as back.
        fewest: blocks before the newest needed for a median that means something.
        memory: blocks that the median and its deviation rest on. 20: about five checks, over which a descent is short.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> blocks, detector = MetricHistory("train_loss"), LossSpikeDetector()
    >>> noisy = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.1, 0.9, 1.05, 0.95, 5.0, 1.0]
    >>> for check, loss in enumerate(noisy):
    ...     view = blocks.update(loss, check)
    >>> for finding in detector.examine(MetricViews(11, (), blocks=view)):
    ...     print(finding)
    loss_spike: yes (the training loss jumped to 5, 22 deviations above its median 1, and recovered)
    """

    condition = Condition.LOSS_SPIKE
    precedence = 60  # a spike that came back explains a check without a new best
    color, mark = "#b0568f", "diamond"

    excursion: float = 6.0
    back: float = 3.0
    fewest: int = 10
    memory: int = 20

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding on the blocks of the training loss; none without enough of them."""
        blocks, newest = views.blocks, self._newest(views)
        if blocks is None or len(blocks.values) - newest < self.fewest:
            return ()
        return (self._examine(blocks, newest),)

    def rules_out(self, views: MetricViews) -> bool:
        """Whether no new block lies above the median of those before."""
        blocks, newest = views.blocks, self._newest(views)
        if blocks is None or len(blocks.values) - newest < self.fewest:
            return False
        return max(blocks.values[-newest:]) <= middle(blocks.values[-newest - self.memory : -newest])

    def _newest(self, views: MetricViews) -> int:
        return max(2, 2 * len(views.window.blocks) if views.window else 2)

    def _examine(self, series: MetricView, newest: int) -> Finding:
        before = series.values[-newest - self.memory : -newest]
        peak = max(series.values[-newest:])
        level, deviation = robust_level(before)
        # The larger of two opinions: read from few blocks, a deviation may by luck be a third of what it is.
        deviation = max(deviation, series.noise) or 1e-12 * max(1.0, abs(level))
        score = (peak - level) / deviation
        settled = (series.values[-1] - level) / deviation < self.back
        verdict = self._verdict(score, settled)
        return self.finding(verdict, series.name, score, self.excursion, peak=peak, median=level, deviation=deviation)

    def describe(self, finding: Finding) -> str:
        """How high it was, and whether it recovered."""
        return (
            f"the training loss jumped to {finding.evidence['peak']:.4g}, {finding.score:.0f} deviations above its "
            f"median {finding.evidence['median']:.4g}, "
            f"and {'is still up' if finding.verdict is Verdict.UNDECIDED else 'recovered'}"
        )

    def _verdict(self, score: float, settled: bool) -> Verdict:
        if score <= self.excursion:
            return Verdict.NO
        return Verdict.YES if settled else Verdict.UNDECIDED
