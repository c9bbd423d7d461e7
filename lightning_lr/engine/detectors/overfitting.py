"""Overfitting: a monitor that has stalled lies above its best while training still gains."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lightning_lr.engine import text
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.stall import FEWEST, logistic, rank_trend
from lightning_lr.engine.history.statistics import mean, middle
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class OverfittingDetector(Detector):
    """States which part of the probability of a stall is overfitting.

    By either of two measurements, and the clearer one counts:

    * the *rise* of the monitor: how far the median of its newest values lies above the mean of its two lowest, in
      deviations of one value, less what luck explains (the lowest of n values of a level lies √(2 ln n) below it);
      unless the training loss does not fall over the same checks. Without a training series it decides alone.
    * soon after the best, when no rise is beyond luck yet: the rise and the rank trend of the values since together, if
      training has *learned on*: what it has gained since is a good part of all.

    The verdict is that of a :mod:`plateau <lightning_lr.engine.detectors.plateau>`, if the larger part is overfitting;
    else no. So it names a stall, and finds none by itself: rules that did were hasty on logs of others (decision 15).

    Args:
        rise: deviations beyond luck at which half of a stall is overfitting. 1.
        steep: how fast the part grows with it. 1.2: at 3 deviations nine tenths.
        falls: how far the rank trend of the training loss must lie below zero, in deviations of chance. 1.
        longest: checks of a rank trend at most. 16.
        learned: share of its whole gain that training must have gained since. 0.02: of a stalled monitor, less than one
            or two hundredths are to come; below, training has stalled as well.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> val, train, detector = MetricHistory("val_loss"), MetricHistory("train_loss"), OverfittingDetector()
    >>> for check in range(15):
    ...     v, t = 0.5 + abs(check - 5) * 0.05, 1 / (check + 1)
    ...     views = MetricViews(check, (val.update(v, check),), train.update(t, check))
    ...     (finding,) = detector.examine(views)
    >>> print(finding)
    overfitting: yes (val_loss has risen to 0.95 ...; stalled (98 % likely), by overfitting (98 % likely))
    """

    condition = Condition.OVERFITTING
    precedence = 30  # an overfit run has no new best either, but a plateau would be the wrong response
    votes = True
    color, mark = "#c77f00", "square"

    rise: float = 1.0
    steep: float = 1.2
    falls: float = 1.0
    longest: int = 16
    learned: float = 0.02

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding for each fresh monitor; none for the training loss itself."""
        return tuple(self._examine(views, view, views.train) for view in self._asked(views))

    def rules_out(self, views: MetricViews) -> bool:
        """Whether no monitor has stalled more probably than not: it is a part of that probability."""
        asked = self._asked(views)
        return bool(asked) and all(views.stall(view).probability < 0.5 for view in asked)

    def _asked(self, views: MetricViews) -> list[MetricView]:
        named = views.train.name if views.train is not None else None
        return [view for view in views.fresh if view.name != named and view.recent]

    def _examine(self, views: MetricViews, view: MetricView, train: MetricView | None) -> Finding:
        stall = views.stall(view)
        trend = self._training_trend(view, train)
        risen = rise(view)
        part = logistic(self.steep * (risen - self.rise)) if math.isnan(trend) or trend < -self.falls else 0.0
        turn = rank_trend(view.recent[-min(view.since_low, self.longest) :]) if view.since_low > 2 else math.nan
        if train is not None and turn == turn and learned_since(train, view) > self.learned:
            part = max(part, logistic(self.steep * (risen + turn - self.rise)))
        found = self.stated(
            stall.probability,
            views,
            view,
            overfitting=part * stall.probability,
            value=view.shown(view.recent[-1]),
            best=view.shown(view.low),
            best_check=float(view.low_check),
            rise=risen,
            training_trend=trend,
            trend=turn,
            known_checks=float(min(stall.checks, FEWEST)),
            fewest=float(FEWEST),
        )
        verdict = found.verdict if part >= 0.5 else Verdict.NO
        return replace(found, verdict=verdict, probability=part * stall.probability)

    def describe(self, finding: Finding) -> str:
        """How far the monitor lies from its best, and whether training falls."""
        known = finding.evidence
        if math.isnan(finding.score):
            return text.cannot_tell_yet(known["known_checks"], known["fewest"])
        trains = "training_trend" in known
        why = text.worse_than_best(finding.monitor, known["value"], known["best"], known["best_check"], trains)
        return text.overfitted(finding.score, known["overfitting"], why)

    def _training_trend(self, view: MetricView, train: MetricView | None) -> float:
        if train is None or train.count < FEWEST:
            return math.nan
        return rank_trend(train.recent[-max(FEWEST, min(view.since_low, self.longest)) :])


def learned_since(train: MetricView, view: MetricView) -> float:
    """What training has gained since a monitor was at its lowest, as a share of all that it has gained.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> val, train = MetricHistory("val_loss"), MetricHistory("train_loss")
    >>> for check in range(9):
    ...     seen = train.update(1 - check / 10, check), val.update(abs(check - 3), check)
    >>> learned_since(*seen)
    0.5
    """
    values, gain = train.recent, train.gain
    age = min(int(sum(view.count - number for _, number in view.lowest) / len(view.lowest)), len(values) - 3)
    if age < 2 or not gain > 0:
        return 0.0
    return (mean(values[-age - 2 : len(values) - age + 1]) - mean(values[-3:])) / gain


def rise(view: MetricView) -> float:
    """How far the newest values lie above the two lowest, in deviations of one value, beyond what luck explains.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> history = MetricHistory("val_loss")
    >>> for check in range(20):
    ...     view = history.update([1.0, 1.1, 0.9][check % 3], check)
    >>> rise(view) < 0
    True
    """
    newest = max(3, min(8, view.since_low // 2))
    noise = view.noise if view.noise > 0 else 0.0
    floor = max(noise, 1e-12 * abs(view.first), 1e-300)
    two = view.lowest[:2]
    low = sum(value for value, _ in two) / len(two)
    return (middle(view.recent[-newest:]) - low) / floor - math.sqrt(2 * math.log(view.count))
