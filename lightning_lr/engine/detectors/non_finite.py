"""Non-finite: NaN or infinity where a loss should be."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.history.run_history import TRAIN_LOSS
from lightning_lr.engine.records import Finding, MetricView, MetricViews, TrainWindow
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Condition, Verdict


@dataclass(frozen=True)
class NonFiniteDetector(Detector):
    """Finds values that are NaN or infinite, and separates a passing one from weights that became NaN.

    * The training loss: yes if the window ends without a finite value, since weights that are NaN stay NaN; undecided
      if single steps were not finite and later ones were (a gradient scaler skips such steps).
    * A monitor: no if the training losses since are finite, since the metric is then undefined and the weights are
      sound (a score of one class, a perplexity beyond the largest number). Without training losses yes from the
      ``streak``-th check in a row on, and undecided before.

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

    condition = Condition.NON_FINITE
    precedence = 10  # without finite numbers nothing else can be measured
    urgent = True
    color, mark = "#b00020", "x"

    streak: int = 2

    def examine(self, views: MetricViews) -> tuple[Finding, ...]:
        """Findings only where something was not finite."""
        sound = views.window is not None and not views.window.non_finite
        findings = [self._monitor(view, sound) for view in views.fresh if view.non_finite_streak]
        if views.window is not None and views.window.non_finite:
            findings.insert(0, self._window(views.window))
        return tuple(findings)

    def _window(self, window: TrainWindow) -> Finding:
        verdict, lost = Verdict.YES if window.ends_non_finite else Verdict.UNDECIDED, float(window.non_finite)
        return self.finding(verdict, TRAIN_LOSS, lost, 1.0, non_finite_steps=lost, steps=float(window.steps))

    def _monitor(self, view: MetricView, sound: bool) -> Finding:
        count = view.non_finite_streak
        verdict = Verdict.NO if sound else Verdict.YES if count >= self.streak else Verdict.UNDECIDED
        return self.finding(verdict, view.name, float(count), float(self.streak), non_finite_checks=float(count))

    def describe(self, finding: Finding) -> str:
        """At how many steps or checks it was not finite."""
        if "steps" not in finding.evidence:
            undefined = ", and training is sound: undefined" if finding.verdict is Verdict.NO else ""
            checks = f"{finding.score:.0f} check{plural(finding.score)} in a row"
            return f"{finding.monitor} was not finite at {checks}{undefined}"
        lost = finding.verdict is Verdict.YES
        return (
            f"the training loss was not finite at {finding.score:.0f} of {finding.evidence['steps']:.0f} steps, "
            f"{'and the last of them too' if lost else 'and later ones were finite again'}"
        )
