"""Converged: the rate is low, the metric is flat, and more training would bring nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning_lr.engine.history.statistics import mean, trend
from lightning_lr.engine.records import Finding, MetricView, MetricViews
from lightning_lr.engine.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class ConvergedDetector:
    """Finds a run that could be stopped at no cost; it is advice, no policy acts on it.

    Yes for a monitor where three facts hold:

    * the rate has come down to ``low`` of its highest, by whatever way: cuts that followed plateaus, the end of a
      curve, a schedule of the user's own. Before that, a lower rate may still bring most of what there is to gain;
    * over the newest ``window`` values the most that the trend can have gained, slope and two standard errors, is less
      than ``share`` of all that the run has gained, and they do not rise;
    * the critical ratio, where it is measured, shows no ``room``.

    No where one of them surely fails, undecided while the values are too few or too noisy to tell.

    Args:
        low: share of the highest rate, 0 to 1. 0.1: two cuts of the policy ``auto``, which then have both been tried.
        window: values since the last adjustment, in checks. 16: the error of a slope falls with the window to the
            power of 3/2; over five values most healthy descents hide in their noise.
        share: of the gain of the run, 0 to 1. 0.02: what counts as standing still for the training loss too.
        room: critical ratio from which on a higher rate would pay, as in ``improving``.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> tracker, detector = MetricHistory("val_loss"), ConvergedDetector()
    >>> for check in range(40):
    ...     view = tracker.update(max(0.5, 2 - 0.1 * check), check)
    ...     (finding,) = detector.examine(MetricViews(check, (view,), rate_share=0.09))
    ...     if finding.verdict is Verdict.YES:
    ...         break
    >>> print(check, finding.reason)
    30 val_loss is flat over 16 checks at 9 % of the highest learning rate: stopping would cost nothing
    """

    low: float = 0.1
    window: int = 16
    share: float = 0.02
    room: float = 10.0
    condition: Condition = Condition.CONVERGED

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """One finding for each fresh monitor; none where no learning rate is known."""
        rate = views.rate_share
        if rate is None:
            return ()
        kappa = views.probes.get("critical_ratio")
        has_room = kappa is not None and bool(kappa.values) and mean(kappa.values[-3:]) >= self.room
        asked = rate <= self.low and not has_room
        return tuple(self._examine(view, rate, asked) for view in views.fresh)

    def _examine(self, view: MetricView, rate: float, asked: bool) -> Finding:
        # In all but the last checks of a run the rate alone says no: nothing is worked out then.
        verdict, left = self._flat(view) if asked else (Verdict.NO, math.inf)
        return Finding.deferred(
            partial(self._told, view.name, rate, left),
            condition=self.condition,
            verdict=verdict,
            monitor=view.name,
            score=left,
            threshold=self.share,
        )

    def _told(self, name: str, rate: float, left: float) -> Mapping[str, Any]:
        return {
            "reason": f"{name} is flat over {self.window} checks at {100 * rate:.2g} % of the highest learning rate: "
            "stopping would cost nothing",
            "evidence": {"gain_left": left, "rate_share": rate},
        }

    def _flat(self, view: MetricView) -> tuple[Verdict, float]:
        """Whether it is flat, and the most it can have gained over the window as a share of the gain of the run."""
        values = view.values[-self.window :]
        if len(values) < self.window or not view.gain > 0:
            return Verdict.UNDECIDED, math.inf
        recent = trend(values, view.noise)
        left = max(0.0, (2 * recent.error - recent.slope) * (self.window - 1)) / view.gain
        if recent.rising is Verdict.YES:
            return Verdict.NO, left
        if left <= self.share:
            return Verdict.YES, left
        return (Verdict.NO if recent.improving is Verdict.YES else Verdict.UNDECIDED), left
