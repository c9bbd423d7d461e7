"""Overfitting, told without a validation set: the gradients of two batches drift apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.metric_names import is_held_out
from lightning_lr.engine.history.statistics import mean
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class GradientDisparityDetector(Detector):
    """Finds gradients of two batches that part again while the training loss goes on falling.

    A network that learns what the batches have in common gets gradients that shrink together. Once it learns single
    samples by heart, each batch pulls elsewhere (Forouzesh and Thiran 2021). Yes where the mean of the newest
    ``window`` values of ``gradient_disparity`` lies ``rise`` times above the lowest such mean, by ``steep`` standard
    errors, and the training loss still improves. Only the checks since training had learned ``learned`` of its loss
    count: gradients grow in every network that begins to learn.

    Asked only where no monitor is measured on held-out data; else :class:`OverfittingDetector` sees more.

    Args:
        rise: ratio to the lowest mean. 1.3: below, digits without wrong labels fired.
        steep: standard errors of the difference. 3: it is asked at every check.
        learned: share of the first training loss that must be gone, 0 to 1. 0.5.
        window: values in a mean, in checks. 5: single values vary by a quarter.

    References:
        M. Forouzesh and P. Thiran, "Disparity Between Batches as a Signal for Early Stopping", 2021, arXiv:2107.06665.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> apart, train = MetricHistory("gradient_disparity"), MetricHistory("train_loss")
    >>> detector = GradientDisparityDetector()
    >>> for check in range(30):
    ...     loss = train.update(2 / (check + 1), check)
    ...     probes = {"gradient_disparity": apart.update(1 + 0.1 * abs(check - 12) + 0.01 * (check % 2), check)}
    ...     for finding in detector.examine(MetricViews(check, (loss,), loss, probes=probes)):
    ...         if finding.verdict is Verdict.YES:
    ...             print(check, finding.reason[:60])
    ...             break
    ...     else:
    ...         continue
    ...     break
    19 the gradients of two batches lie 1.3 times further apart tha
    """

    condition = Condition.OVERFITTING
    precedence = 30  # as for overfitting with a validation set
    votes = True
    color, mark = "#c77f00", "square"

    rise: float = 1.3
    steep: float = 3.0
    learned: float = 0.5
    window: int = 5

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding where there is no held-out monitor, none else."""
        apart, train = views.probes.get("gradient_disparity"), views.train
        if apart is None or not apart.fresh or train is None or any(is_held_out(s.name) for s in views.monitors):
            return ()
        counted = min(learned_for(train, self.learned), len(apart.values))
        means = rolling(apart.values[len(apart.values) - counted :], self.window)
        if len(means) < 2:
            return ()
        lowest, newest = min(means), means[-1]
        error = apart.noise * math.sqrt(2 / self.window)
        risen = newest >= self.rise * lowest and newest - lowest > self.steep * error
        return (
            self.finding(
                self._verdict(risen, train),
                apart.name,
                newest / lowest if lowest > 0 else 1.0,
                self.rise,
                way_gradient_disparity=float(risen),
                gradient_disparity=newest,
                gradient_disparity_lowest=lowest,
            ),
        )

    def describe(self, finding: Finding) -> str:
        """How much further apart the gradients are."""
        return (
            f"the gradients of two batches lie {finding.score:.2g} times further apart than at their closest while "
            "the training loss still falls (gradient_disparity; no validation set)"
        )

    def _verdict(self, risen: bool, train: MetricView) -> Verdict:
        if not risen or train.trend.improving is Verdict.NO:
            return Verdict.NO
        return Verdict.YES if train.trend.improving is Verdict.YES else Verdict.UNDECIDED


def learned_for(train: MetricView, share: float) -> int:
    """For how many of the newest checks the training loss has been below 1 − ``share`` of its first value.

    Zero where the loss is not positive: a share of it then means nothing.
    """
    limit = (1 - share) * train.first
    count = 0
    for value in reversed(train.values):
        if not (train.first > 0 and value <= limit):
            break
        count += 1
    return count


def rolling(values: Sequence[float], window: int) -> list[float]:
    """Means of all stretches of ``window`` values, oldest first.

    >>> rolling([1.0, 2.0, 3.0], 2)
    [1.5, 2.5]
    """
    return [mean(values[i : i + window]) for i in range(len(values) - window + 1)]
