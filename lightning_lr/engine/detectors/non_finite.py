"""Non-finite: NaN or infinity where a loss should be."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_lr.engine.records import Finding, MetricView, MetricViews, TrainWindow
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class NonFiniteDetector:
    """Finds values that are no numbers, and tells a passing one from lost weights.

    * The training loss: yes where the window ends without a finite value, since weights that are NaN do not come
      back; undecided where single steps were not finite and later ones were (a gradient scaler skips such steps).
    * A monitor: yes from the ``streak``-th check in a row on; undecided before, since a metric may be undefined on
      one check
      although the model is sound. Where the training loss is finite too, the sentence says so.

    Args:
        streak: checks in a row after which a non-finite monitor counts. 2: one may be an accident of the metric.

    >>> from lightning_lr.engine.history.metric_history import MetricHistory
    >>> tracker, detector = MetricHistory("val_loss"), NonFiniteDetector()
    >>> for check, loss in enumerate([1.0, float("nan"), float("nan")]):
    ...     for finding in detector.examine(MetricViews(check, (tracker.update(loss, check),))):
    ...         print(check, finding)
    1 non_finite: undecided (val_loss was not finite at 1 check in a row)
    2 non_finite: yes (val_loss was not finite at 2 checks in a row)
    """

    streak: int = 2
    condition: Condition = Condition.NON_FINITE

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """Findings only where something was not finite."""
        findings = [self._monitor(view) for view in views.fresh if view.non_finite_streak]
        if views.window is not None and views.window.non_finite:
            findings.insert(0, self._window(views.window))
        return tuple(findings)

    def _window(self, window: TrainWindow) -> Finding:
        what = "and the last of them too" if window.ends_non_finite else "and later ones were finite again"
        return Finding(
            condition=self.condition,
            verdict=Verdict.YES if window.ends_non_finite else Verdict.UNDECIDED,
            monitor="train_loss",
            score=float(window.non_finite),
            threshold=1.0,
            reason=f"the training loss was not finite at {window.non_finite} of {window.steps} steps, {what}",
            evidence={"non_finite_steps": float(window.non_finite), "steps": float(window.steps)},
        )

    def _monitor(self, view: MetricView) -> Finding:
        count = view.non_finite_streak
        return Finding(
            condition=self.condition,
            verdict=Verdict.YES if count >= self.streak else Verdict.UNDECIDED,
            monitor=view.name,
            score=float(count),
            threshold=float(self.streak),
            reason=f"{view.name} was not finite at {count} check{plural(count)} in a row",
            evidence={"non_finite_checks": float(count)},
        )
