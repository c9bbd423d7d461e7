"""Overfitting: the training loss still improves, the held-out metric gets worse."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import mul
from typing import Any

from lightning_lr.engine.history.statistics import mean, trend
from lightning_lr.engine.records import Finding, MetricView, MetricViews, Trend
from lightning_lr.engine.vocabulary import Condition, Verdict

SHOWN = ("gap", "opposite_trends", "generalization_loss", "progress_quotient", "rising_strips")
"""The ways in the order in which the evidence names them."""


@dataclass(frozen=True)
class OverfittingDetector:
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
    condition: Condition = Condition.OVERFITTING

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding for each fresh monitor; none where there is no training series to compare with."""
        train = views.train
        if train is None or not train.values:
            return ()
        return tuple(self._examine(s, train, views.gaps.get(s.name)) for s in views.fresh if s.values)

    def _examine(self, view: MetricView, train: MetricView, gap: MetricView | None) -> Finding:
        return Finding.deferred(
            partial(self._told, view, train, gap),
            condition=self.condition,
            verdict=self._verdict(view, train, gap),
            monitor=view.name,
        )

    def _told(self, view: MetricView, train: MetricView, gap: MetricView | None) -> Mapping[str, Any]:
        loss = generalization_loss(view)
        ways = dict(self._ways(view, train, gap))
        agreed = [name for name in SHOWN if ways.get(name)]
        return {
            "score": float(len(agreed)),
            "threshold": float(min(self.agree, len(ways))),
            "reason": (
                f"{view.name} is {loss:.2g} % {'above' if view.sign > 0 else 'below'} its best "
                f"{view.shown(view.best):.4g} of check {view.best_check} while training still improves "
                f"({', '.join(agreed) or 'no way to tell agrees'})"
            ),
            "evidence": {
                "generalization_loss": loss,
                "progress_quotient": progress_quotient(loss, train.values),
                "gap": gap.value if gap else math.nan,
                "gap_slope": since_best(gap, view.since_best + 1).slope if gap else math.nan,
                **{f"way_{name}": float(ways[name]) for name in SHOWN if name in ways},
            },
        }

    def _ways(self, view: MetricView, train: MetricView, gap: MetricView | None) -> Iterator[tuple[str, bool]]:
        """Each way and whether it fires, the dearest one last: whoever needs but one stops there."""
        if gap is not None:
            loss = generalization_loss(view)
            yield "generalization_loss", loss > self.rise
            yield "progress_quotient", progress_quotient(loss, train.values) > self.quotient
        strips = strip_means(view.values[-self.strip * (self.strips + 1) :], self.strip)
        yield "rising_strips", rises(strips) >= self.strips
        if gap is not None:
            yield "gap", climbs(gap, view.since_best + 1)
        else:
            yield "opposite_trends", view.since_best > 0 and self._trained(view, train)

    def _verdict(self, view: MetricView, train: MetricView, gap: MetricView | None) -> Verdict:
        if view.since_best == 0 or not any(fires for _, fires in self._ways(view, train, gap)):
            return Verdict.NO
        risen = mean(view.values[-3:]) - view.best > self.noise_rise * view.noise
        if len(view.values) < self.fewest or not risen or not self._rising(view):
            return Verdict.UNDECIDED
        agreed = sum(fires for _, fires in self._ways(view, train, gap))
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


def climbs(view: MetricView, count: int) -> bool:
    """Whether the newest ``count`` values rise beyond their error.

    Asked at each check, and nearly always they do not: the sign of the slope tells so first. The noise of a series can
    only widen the error, so it is read where they rise without it.
    """
    values = view.values[-count:]
    if 2 * sum(map(mul, range(len(values)), values)) <= (len(values) - 1) * sum(values):
        return False
    alone = trend(values)
    if alone.points > 2 and alone.rising is not Verdict.YES:
        return False
    return trend(values, view.noise).rising is Verdict.YES


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
