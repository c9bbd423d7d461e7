"""Plateau: no new best, and no gain left that is worth waiting for."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_lr.core.records import Finding, Signal, Signals
from lightning_lr.core.statistics import trend
from lightning_lr.core.vocabulary import Condition, Verdict
from lightning_lr.core.wording import plural


@dataclass(frozen=True)
class PlateauDetector:
    """Finds a monitor that has stopped improving.

    "No new best" alone is not a plateau: after a spike, or from an unlucky start, a metric may fall steadily and stay
    above an old best for long. So the slope is asked as well. At its most optimistic end, slope − ``caution`` standard
    errors, the metric could still gain that much a check; over as many checks as the slope rests on, that is the
    *gain in reach*. The verdict is

    * no, at a new best, or while the slope shows improvement;
    * yes, where the gain in reach is below ``share`` of all the gain so far;
    * undecided otherwise: noise hides the slope, more checks will tell. After ``give_up`` checks without a new best it is
      yes all the same: whatever gain there is has not shown.

    Values that repeat the best exactly are flat whatever the noise was: a metric that still moves never does.

    A metric that rises counts as flat: it surely does not improve. Whether the model overfits is another
    detector's question, which outranks this one.

    Args:
        share: largest share of the gain so far that counts as nothing, 0 to 1. 5 %: half of what a typical cut of
            the learning rate still brings on the benchmark tasks.
        caution: standard errors that the slope is bent towards improvement. 1.5: the slope starts at the best, a
            lucky value, which bends it the other way by about half an error.
        give_up: checks without a new best after which undecided turns into yes.

    >>> from lightning_lr.core.signals import SignalTracker
    >>> tracker, detector = SignalTracker("val_loss"), PlateauDetector()
    >>> for check, loss in enumerate([1.0, 0.8, 0.7, 0.65, 0.65, 0.65, 0.65]):
    ...     signal = tracker.update(loss, check)
    ...     (finding,) = detector.examine(Signals(check, (signal,)))
    ...     if finding.verdict is Verdict.YES:
    ...         print(check, finding.reason)
    4 val_loss has had no new best for 1 check (best 0.65 at check 3, slope +0 ± 0 a check)
    5 val_loss has had no new best for 2 checks (best 0.65 at check 3, slope +0 ± 0 a check)
    6 val_loss has had no new best for 3 checks (best 0.65 at check 3, slope +0 ± 0 a check)
    """

    share: float = 0.05
    caution: float = 1.5
    give_up: int = 12
    condition: Condition = Condition.PLATEAU

    def examine(self, signals: Signals) -> tuple[Finding, ...]:
        """One finding for each fresh monitor."""
        return tuple(self._examine(signal) for signal in signals.fresh)

    def _examine(self, signal: Signal) -> Finding:
        since = signal.values[-(signal.since_best + 1) :]
        recent = trend(since, 0.0 if max(since, default=0.0) == min(since, default=0.0) else signal.noise)
        gain_in_reach = max(0.0, self.caution * recent.error - recent.slope) * recent.points
        threshold = self.share * signal.gain
        return Finding(
            condition=self.condition,
            verdict=self._verdict(signal, recent.improving, gain_in_reach <= threshold),
            monitor=signal.name,
            score=signal.since_best,
            threshold=1.0,
            reason=(
                f"{signal.name} has had no new best for {signal.since_best} check{plural(signal.since_best)} "
                f"(best {signal.shown(signal.best):.4g} at check {signal.best_check}, "
                f"slope {signal.shown(recent.slope):+.2g} ± {recent.error:.2g} a check)"
            ),
            evidence={
                "since_best": signal.since_best,
                "slope": signal.shown(recent.slope),
                "slope_error": recent.error,
                "gain_in_reach": gain_in_reach,
                "gain_threshold": threshold,
            },
        )

    def _verdict(self, signal: Signal, improving: Verdict, flat: bool) -> Verdict:
        if signal.since_best == 0 or improving is Verdict.YES:
            return Verdict.NO
        if flat or signal.since_best >= self.give_up:
            return Verdict.YES
        return Verdict.UNDECIDED
