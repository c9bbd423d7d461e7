"""Loss spike: one sudden excursion of the training loss that comes back by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning_lr.engine.history.statistics import robust_level
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class LossSpikeDetector:
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
    loss_spike: yes (the training loss jumped to 5, 22 deviations above its median 1, and came back)
    """

    excursion: float = 6.0
    back: float = 3.0
    fewest: int = 10
    memory: int = 20
    condition: Condition = Condition.LOSS_SPIKE

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding on the blocks of the training loss; none without enough of them."""
        if views.blocks is None:
            return ()
        newest = max(2, 2 * len(views.window.blocks) if views.window else 2)
        if len(views.blocks.values) - newest < self.fewest:
            return ()
        return (self._examine(views.blocks, newest),)

    def _examine(self, series: MetricView, newest: int) -> Finding:
        before = series.values[-newest - self.memory : -newest]
        peak = max(series.values[-newest:])
        middle, deviation = robust_level(before)
        # The larger of two opinions: read from few blocks, a deviation may by luck be a third of what it is.
        deviation = max(deviation, series.noise) or 1e-12 * max(1.0, abs(middle))
        score = (peak - middle) / deviation
        settled = (series.values[-1] - middle) / deviation < self.back
        return Finding.deferred(
            partial(told, peak, score, middle, deviation, settled),
            condition=self.condition,
            verdict=self._verdict(score, settled),
            monitor=series.name,
            score=score,
            threshold=self.excursion,
        )

    def _verdict(self, score: float, settled: bool) -> Verdict:
        if score <= self.excursion:
            return Verdict.NO
        return Verdict.YES if settled else Verdict.UNDECIDED


def told(peak: float, score: float, middle: float, deviation: float, settled: bool) -> Mapping[str, Any]:
    """The sentence and the numbers behind it."""
    return {
        "reason": (
            f"the training loss jumped to {peak:.4g}, {score:.0f} deviations above its median {middle:.4g}, "
            f"and {'came back' if settled else 'is still up'}"
        ),
        "evidence": {"peak": peak, "median": middle, "deviation": deviation},
    }
