"""Divergence: the training loss has lost ground for good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.run_history import TRAIN_LOSS
from lightning_lr.engine.history.statistics import NOISE_WINDOW, cusum, mean, robust_noise
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class Rise:
    """The course of a series since its lowest level.

    Attributes:
        before: level at the check before.
        level: level at this check.
        noise: of one block.
        cusum: of the blocks since the lowest level against it.
    """

    before: float
    level: float
    noise: float
    cusum: float


@dataclass(frozen=True)
class DivergenceDetector(Detector):
    """Finds a training loss that rises and does not come back.

    It looks at block means of the training loss, and at the level L̄ of each check, the mean of its blocks. Yes where

    * *ground is lost*: ρ = (L̄ − L_best)/(L_0 − L_best), the share of all progress that is gone, exceeds ``ground``
      at this
      check and at the one before; free of scale and unit. A loss above where it began (ρ > 1) is the case "it never
      learned". L_best is a level too: the best single block of a noisy run may be one lucky step, far below all that
      the run ever held;
    * the rise is *real*: a CUSUM of the blocks since the lowest level against a *frozen* baseline, that level and the
      noise of the blocks up to it, passes ``alarm``. Frozen, because a running mean would chase the very rise that
      is looked for;
    * it is *not coming back*: the level has not fallen since the check before, beyond noise.

    A single spike cannot fire it, however high: it must fill two checks without falling. Undecided where half of the
    ground is lost and a condition is missing.

    Args:
        ground: ρ from which on ground counts as lost. 0.25: spikes of half that size come and go in healthy runs.
        alarm: CUSUM from which on a rise counts as real. 8: one false alarm in about 19,000
            blocks of independent normal noise (at the usual 5 in about 930; but the noise is estimated, and blocks
            are correlated).
        back: standard errors by which the level may fall from one check to the next without counting as coming back. 2.
        fewest: blocks needed before anything is said. 10: with fewer, neither the noise nor the gain to lose is known.

    References:
        E. S. Page, "Continuous inspection schemes", 1954 (CUSUM).

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> blocks, detector = MetricHistory("train_loss"), DivergenceDetector()
    >>> for check, loss in enumerate([2.3, 2.0, 1.6, 1.4, 1.3, 1.27, 1.25, 1.3, 1.9, 2.6, 3.8]):
    ...     view = blocks.update(loss, check)
    >>> for finding in detector.examine(MetricViews(10, (), blocks=view)):
    ...     print(finding)
    divergence: yes (the training loss rose from 1.25 to 3.8: 243 % of all progress is lost)
    """

    condition = Condition.DIVERGENCE
    precedence = 20  # with lost ground every statement about generalization is void
    urgent = True
    color, mark = "#d55e00", "triangle-up"

    ground: float = 0.25
    alarm: float = 8.0
    back: float = 2.0
    fewest: int = 10

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding on the blocks of the training loss, else on ``train_monitor``, else on the first monitor.

        A monitor that rises while another series tells that training improves is overfitting, not divergence.
        """
        series = views.blocks or views.train or (views.fresh[0] if views.fresh else None)
        if series is None or len(series.values) < self.fewest:
            return ()
        blocks = max(1, len(views.window.blocks) if views.blocks and views.window else 1)
        # Since the last adjustment only these levels are at hand; the loss of each check of the run is a level too.
        train = views.train if views.train is not None and views.train.name == series.name else None
        known = train.best if train else series.best if blocks == 1 else math.nan
        levels = running_means(series.values, blocks)
        best = min(known, *levels) if math.isfinite(known) else min(levels)
        return (self._examine(series, blocks, levels, best),)

    def _examine(self, series: MetricView, blocks: int, levels: Sequence[float], best: float) -> Finding:
        rise = self._rise(series, blocks, levels)
        lost, lost_before = (_ground_lost(series, best, level) for level in (rise.level, rise.before))
        return self.finding(
            self._verdict(rise, blocks, lost, lost_before),
            series.name,
            lost,
            self.ground,
            lowest=series.shown(best),
            level=series.shown(rise.level),
            ground_lost=lost,
            ground_lost_before=lost_before,
            cusum=rise.cusum,
            cusum_alarm=self.alarm,
            noise=rise.noise,
        )

    def describe(self, finding: Finding) -> str:
        """From where to where it rose, and how much of the progress is lost."""
        lowest, level = finding.evidence["lowest"], finding.evidence["level"]
        subject = "the training loss" if finding.monitor == TRAIN_LOSS else finding.monitor
        moved = "rose" if level > lowest else "fell"
        return (
            f"{subject} {moved} from {lowest:.4g} to {level:.4g}: {100 * finding.score:.0f} % of all progress is lost"
        )

    def _rise(self, series: MetricView, blocks: int, levels: Sequence[float]) -> Rise:
        lowest = levels.index(min(levels))
        noise = self._noise(series, lowest + blocks)
        return Rise(
            before=levels[max(0, len(levels) - 1 - blocks)],
            level=levels[-1],
            noise=noise,
            cusum=cusum(series.values[lowest + blocks :], levels[lowest], noise),
        )

    def _noise(self, series: MetricView, until: int) -> float:
        """Noise of one block: up to the lowest level, or over the newest blocks."""
        before = robust_noise(series.values[max(0, until - NOISE_WINDOW) : until])
        # The larger of two opinions: read from few blocks, a noise may by luck be a third of what it is.
        return max(before if before > 0 else 0.0, series.noise, 1e-12 * abs(series.first), 1e-300)

    def _verdict(self, rise: Rise, blocks: int, lost: float, lost_before: float) -> Verdict:
        if lost <= self.ground / 2 or not math.isfinite(lost):
            return Verdict.NO
        lost_twice = min(lost, lost_before)
        returning = rise.before - rise.level > self.back * rise.noise * math.sqrt(2 / blocks)
        real = lost_twice > self.ground and rise.cusum > self.alarm
        return Verdict.YES if real and not returning else Verdict.UNDECIDED


def _ground_lost(series: MetricView, best: float, level: float) -> float:
    gain = series.first - best
    if gain <= 0:
        # Nothing was ever gained: rising above the start by a tenth of it is all the ground there was.
        gain = 0.1 * abs(series.first) or 1.0
    return (level - best) / gain


def running_means(values: Sequence[float], width: int) -> list[float]:
    """Mean of each run of ``width`` neighbours; of all where there are fewer.

    >>> running_means([1.0, 3.0, 5.0], 2)
    [2.0, 4.0]
    """
    if len(values) <= width:
        return [mean(values)]
    total = (0.0, *accumulate(values))
    return [(late - early) / width for early, late in zip(total, total[width:], strict=False)]
