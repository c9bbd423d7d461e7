"""Overfitting: the training loss still improves, the held-out metric gets worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.statistics import Trend, mean, trend
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict

WAYS = ("gap", "opposite_trends", "generalization_loss", "progress_quotient", "rising_strips")
"""The ways in the order in which the evidence names them."""


@dataclass(frozen=True)
class OverfittingDetector(Detector):
    """Tells overfitting in several ways, and names each in the evidence.

    ==================== ==============================================================================
    way                  what it sees
    ==================== ==============================================================================
    gap                  the generalization gap widens beyond its error; a wide gap that is steady says nothing
    generalization_loss  GL = 100·(E_va/min E_va − 1): how far the metric has risen above its best, in percent
    progress_quotient    PQ = GL/P_k with P_k = 1000·(mean of the last k training losses/their minimum − 1):
                         the rise set against what training still gains
    rising_strips        UP_s: the metric rose over s successive strips of checks
    opposite_trends      the metric gets worse while training improves; takes the place of gap, GL and PQ
                         where the two sides measure different quantities (accuracy against loss)
    ==================== ==============================================================================

    Yes where ``agree`` ways say so and three facts hold, each beyond noise: the metric has *risen* (the mean of its
    newest
    three values lies ``noise_rise`` deviations above the best, which is itself a lucky value), it is *still rising*
    (over the
    checks since the best; a jump that is being made good is none), and training *has gained* since that best (else
    it is divergence, or a plateau). Undecided where a way says so and a fact is missing; no otherwise. The single
    ways are
    known to be hasty (Prechelt's table of 1296 runs); two of them seldom err together.

    Args:
        rise: GL from which on it counts, in percent of |best|. 2: below, validation sets of a thousand samples
            cannot tell.
        noise_rise: the rise must also be this many standard deviations of one value. 4: the best of fifty values
            lies 2.3 below their mean by luck, the mean of three varies by 0.6.
        quotient: PQ from which on it counts. 1: the rise in percent equals the training progress in per mille.
        strip: checks in one strip; the k of P_k is 5 as in the paper.
        strips: how many strips must rise in succession.
        agree: how many ways must say yes.
        steep: standard errors by which the slope since the best must be above zero. 3: it is asked at every check;
            at 4 real runs were found three checks later.
        settled: checks since the best before the answer can be yes. 5: over three, luck makes a steep slope; a small
            validation set then fired in one run of twenty.
        fewest: values needed before the answer can be yes, in checks. 10: with fewer, the noise is not known.
        trained: standard errors by which the training loss must have fallen since the best. 2: one look in forty.

    References:
        L. Prechelt, "Early Stopping, But When?", 1998.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> val, train, gap = MetricHistory("val_loss"), MetricHistory("train_loss"), MetricHistory("gap")
    >>> detector = OverfittingDetector()
    >>> for check in range(12):
    ...     t = 1 / (check + 1)
    ...     v = 0.5 + abs(check - 5) * 0.05
    ...     gaps = {"val_loss": gap.update(v - t, check)}
    ...     views = MetricViews(check, (val.update(v, check),), train.update(t, check), gaps)
    ...     (finding,) = detector.examine(views)
    ...     if finding.verdict is Verdict.YES:
    ...         break
    >>> print(check, finding.reason.partition(" (")[0])
    10 val_loss is 50 % above its best 0.5 of check 5 while training still improves
    >>> [name for name, fires in finding.evidence.items() if fires == 1.0]
    ['way_gap', 'way_generalization_loss', 'way_rising_strips']
    """

    condition = Condition.OVERFITTING
    precedence = 30  # an overfit run has no new best either, but a plateau would be the wrong response
    votes = True
    color, mark = "#c77f00", "square"

    rise: float = 2.0
    noise_rise: float = 4.0
    quotient: float = 1.0
    strip: int = 2
    strips: int = 2
    agree: int = 2
    trained: float = 2.0
    steep: float = 3.0
    settled: int = 5
    fewest: int = 10

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding for each fresh monitor; none where there is no training series to compare with."""
        train = views.train
        if train is None or not train.values:
            return ()
        return tuple(self._examine(s, train, views.gaps.get(s.name)) for s in views.fresh if s.values)

    def _examine(self, view: MetricView, train: MetricView, gap: MetricView | None) -> Finding:
        loss = generalization_loss(view)
        quotient = progress_quotient(loss, train.values)
        widening = since_best(gap, view.since_best + 1) if gap else None
        strips = strip_means(view.values[-self.strip * (self.strips + 1) :], self.strip)
        fires = {"rising_strips": rises(strips) >= self.strips}
        if widening is not None:
            fires["gap"] = widening.rising is Verdict.YES
            fires["generalization_loss"] = loss > self.rise
            fires["progress_quotient"] = quotient > self.quotient
        else:
            fires["opposite_trends"] = view.since_best > 0 and self._trained(view, train)
        agreed = sum(fires.values())
        return self.finding(
            self._verdict(view, train, agreed),
            view.name,
            float(agreed),
            float(min(self.agree, len(fires))),
            value=view.shown(view.values[-1]),
            best=view.shown(view.best),
            best_check=float(view.best_check),
            generalization_loss=loss,
            progress_quotient=quotient,
            gap=gap.value if gap else math.nan,
            gap_slope=widening.slope if widening else math.nan,
            **{f"way_{name}": float(fires[name]) for name in WAYS if name in fires},
        )

    def describe(self, finding: Finding) -> str:
        """How far the metric lies from its best, and which ways agree."""
        known = finding.evidence
        agreed = [name for name in WAYS if known.get(f"way_{name}")]
        return (
            f"{finding.monitor} is {known['generalization_loss']:.2g} % "
            f"{'above' if known['value'] >= known['best'] else 'below'} its best {known['best']:.4g} "
            f"of check {known['best_check']:.0f} while training still improves ({', '.join(agreed) or 'no way agrees'})"
        )

    def _verdict(self, view: MetricView, train: MetricView, agreed: int) -> Verdict:
        if view.since_best == 0 or not agreed:
            return Verdict.NO
        risen = mean(view.values[-3:]) - view.best > self.noise_rise * view.noise
        if len(view.values) < self.fewest or not risen or not self._rising(view):
            return Verdict.UNDECIDED
        return Verdict.YES if agreed >= self.agree and self._trained(view, train) else Verdict.UNDECIDED

    def _rising(self, view: MetricView) -> bool:
        """Without the best itself: after a jump it is the one low value, and would turn every slope upwards."""
        late = since_best(view, view.since_best)
        return late.points >= self.settled and late.slope > self.steep * late.error

    def _trained(self, view: MetricView, train: MetricView) -> bool:
        """Whether the training loss fell from the check of the best to now, beyond its noise; means of three checks."""
        late = train.values[-min(3, view.since_best) :]
        until = len(train.values) - view.since_best
        early = train.values[max(0, until - 2) : until + 1]
        if not early or math.isnan(train.noise):
            return False
        error = train.noise * math.sqrt(1 / len(late) + 1 / len(early))
        return mean(early) - mean(late) > self.trained * error


def since_best(view: MetricView, count: int) -> Trend:
    """Slope over the newest ``count`` values."""
    return trend(view.values[-count:], view.noise)


def generalization_loss(view: MetricView) -> float:
    """Prechelt's GL: how far the newest value lies above the best, in percent of |best|.

    The best itself for a best of zero would divide by nothing; the rise then counts against the progress so far.
    """
    scale = abs(view.best) or abs(view.gain) or 1.0
    return 100.0 * (view.values[-1] - view.best) / scale


def progress_quotient(loss: float, train: Sequence[float], k: int = 5) -> float:
    """Prechelt's PQ = GL / P_k, with P_k = 1000·(mean/min − 1) over the last k training values.

    Infinite where training makes no progress at all and the metric has risen.

    >>> progress_quotient(10.0, [1.02, 1.01, 1.0, 1.01, 1.01])
    1.0
    """
    strip = train[-k:]
    least = min(strip)
    progress = 1000.0 * (mean(strip) - least) / (abs(least) or 1.0)
    if progress <= 0:
        return float("inf") if loss > 0 else 0.0
    return round(loss / progress, 9)


def strip_means(values: Sequence[float], strip: int) -> list[float]:
    """Means of successive strips, counted back from the newest value.

    >>> strip_means([9, 1, 3, 5, 7], 2)
    [2.0, 6.0]
    """
    whole = len(values) // strip * strip
    values = values[len(values) - whole :]
    return [mean(values[i : i + strip]) for i in range(0, whole, strip)]


def rises(means: Sequence[float]) -> int:
    """How many of the last steps in a row went up.

    >>> rises([3.0, 1.0, 2.0, 4.0])
    2
    """
    count = 0
    for before, after in zip(reversed(means[:-1]), reversed(means[1:]), strict=False):
        if after <= before:
            break
        count += 1
    return count
