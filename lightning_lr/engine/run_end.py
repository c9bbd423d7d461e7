"""The last check of a known budget: a run that ended worse than its best goes back to its best."""

from __future__ import annotations

from lightning_lr.engine.decisions import answer
from lightning_lr.engine.policies.policy import Response
from lightning_lr.engine.records import Decision, Finding, MetricView, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Verdict

LOST = 0.1
"""Share of the best value by which the end must be worse. On digits the states that were 6 and 9 % better on 300
validation images were no better on the test images (the best of thirty noisy values is a lucky one); those that were
12 to 19 % better were, nine of nine; one that was 39 % better was 22 % worse (benchmarks/any_start/HARM.md). The noise
from check to check is no measure of that luck: the validation set is the same each time, so what wanders is the
weights, and the test loss wanders with them."""


def ended_worse(reading: Reading, monitor: MetricView, settings: Settings) -> Decision | None:
    """The decision to bring the best state back at the end; ``None`` where this is not the end, or it is good.

    Annealed weights are nearly always better than those of any check before. Where they are not, the run has overfitted
    in the meantime, and nobody wants the last state.

    Args:
        reading: the check.
        monitor: what the first monitor amounts to at it.
        settings: policy and bounds.
    """
    last = reading.progress is not None and reading.progress >= 1.0
    kept = reading.snapshot_check is not None and reading.snapshot_check == monitor.best_check
    if not (last and kept and settings.policy.restore_best_at_end and monitor.fresh):
        return None
    lost = monitor.value - monitor.best
    threshold = LOST * abs(monitor.best)
    if not lost > threshold:
        return None
    said = (
        f"the budget is used up and {monitor.name} ends at {monitor.shown(monitor.value):.4g}, worse than its best "
        f"{monitor.shown(monitor.best):.4g} of check {monitor.best_check} by more than luck explains"
    )
    finding = Finding(Condition.OVERFITTING, Verdict.YES, monitor.name, lost, threshold, said)
    return answer(reading, finding, Response(Action.RESTORE, 1.0), settings)
