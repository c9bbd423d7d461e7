"""Divergence: the training loss has lost ground for good."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from lightning_lr.core.records import Finding, Signal, Signals
from lightning_lr.core.statistics import cusum, robust_noise
from lightning_lr.core.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class DivergenceDetector:
    """Finds a training loss that rises and does not come back.

    Two statistics must agree, on block means of the training loss:

    * *ground lost*, ρ = (L̄ − L_best)/(L_0 − L_best): the share of all progress that is gone; free of scale and unit. A loss
      above where it began (ρ > 1) is the case "it never learned";
    * a CUSUM of the blocks since the lowest one against a *frozen* baseline: the level and the noise of the blocks
      up to the lowest. Frozen, because a running mean would chase the very rise that is looked for.

    A single spike cannot fire it: L̄ is the mean of the last ``recent`` blocks, and the newest block must itself
    have lost the ground.

    Args:
        ground: ρ from which on ground counts as lost. 0.25: spikes of half that size come and go in healthy runs.
        alarm: CUSUM from which on a rise counts as real. 5: one false alarm in about 930 blocks of pure noise.
        recent: blocks in L̄.
        fewest: blocks needed before anything is said.

    References:
        E. S. Page, "Continuous inspection schemes", 1954 (CUSUM).

    >>> from lightning_lr.core.signals import SignalTracker
    >>> blocks, detector = SignalTracker("train_loss"), DivergenceDetector()
    >>> for check, loss in enumerate([2.3, 2.0, 1.6, 1.4, 1.3, 1.25, 1.3, 1.9, 2.6, 3.8]):
    ...     signal = blocks.update(loss, check)
    >>> for finding in detector.examine(Signals(9, (), blocks=signal)):
    ...     print(finding)
    divergence: yes (the training loss rose from 1.25 to 2.767: 144 % of all progress is lost)
    """

    ground: float = 0.25
    alarm: float = 5.0
    recent: int = 3
    fewest: int = 6
    condition: Condition = Condition.DIVERGENCE

    def examine(self, signals: Signals) -> tuple[Finding, ...]:
        """One finding on the blocks of the training loss; on the first monitor where there are none."""
        series = signals.blocks or (signals.fresh[0] if signals.fresh else None)
        if series is None or len(series.values) < self.fewest:
            return ()
        return (self._examine(series),)

    def _examine(self, series: Signal) -> Finding:
        values = series.values
        lowest = values.index(min(values))
        level, rise = fmean(values[-self.recent :]), 0.0
        noise = self._noise(series, lowest)
        if noise > 0:
            rise = cusum(values[lowest + 1 :], min(values), noise)
        lost = self._ground_lost(series, level)
        newest = self._ground_lost(series, values[-1])
        return Finding(
            condition=self.condition,
            verdict=self._verdict(min(lost, newest), rise),
            monitor=series.name,
            score=lost,
            threshold=self.ground,
            reason=(
                f"the training loss rose from {series.shown(min(series.best, min(values))):.4g} to "
                f"{series.shown(level):.4g}: {100 * lost:.0f} % of all progress is lost"
            ),
            evidence={"ground_lost": lost, "cusum": rise, "cusum_alarm": self.alarm, "noise": noise},
        )

    def _noise(self, series: Signal, lowest: int) -> float:
        """Noise of the blocks up to the lowest; of all of them where those are too few."""
        before = robust_noise(series.values[: lowest + 1])
        return before if before > 0 else max(series.noise, 1e-12 * abs(series.first), 1e-300)

    def _ground_lost(self, series: Signal, level: float) -> float:
        best = min(series.best, min(series.values))
        gain = series.first - best
        if gain <= 0:
            # Nothing was ever gained: rising above the start by a tenth of it is all the ground there was.
            gain = 0.1 * abs(series.first) or 1.0
        return (level - best) / gain

    def _verdict(self, lost: float, rise: float) -> Verdict:
        if lost <= self.ground / 2 or not math.isfinite(lost):
            return Verdict.NO
        if lost > self.ground and rise > self.alarm:
            return Verdict.YES
        return Verdict.UNDECIDED
