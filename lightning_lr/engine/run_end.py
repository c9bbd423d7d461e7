"""The end of a run: the best state is restored if the last one is worse, and a run of unknown budget is stopped."""

from __future__ import annotations

from dataclasses import replace

from lightning_lr.engine import text
from lightning_lr.engine.decisions import Proposal, from_finding
from lightning_lr.engine.history.metric_names import is_held_out
from lightning_lr.engine.policies.policy import Policy, Response
from lightning_lr.engine.records import Finding, MetricView, Reading
from lightning_lr.engine.vocabulary import Action, Condition, Verdict

LOST = 0.01
"""Share of all that was gained by which the end must be worse: on digits 15 % of the best loss, and there the states
that were 6 and 9 % better on 300 validation images were no better on the test images (the best of thirty noisy values
is a lucky one); those that were 12 to 19 % better were, nine of nine; one that was 39 % better was 22 % worse
(benchmarks/any_start/HARM.md). The noise from check to check is no measure of that luck: the validation set is the same
each time, so what wanders is the weights, and the test loss wanders with them."""


def run_ended(
    reading: Reading, monitor: MetricView, policy: Policy, end_began: int | None, train_only: bool
) -> Proposal | None:
    """What is to be done at the last check; ``None`` at any other, or if there is nothing to do.

    A budget that is used up ends the run by itself. If it was unknown, and a plateau has begun the end, the run is
    stopped here.

    Args:
        reading: the check.
        monitor: the first one.
        policy: whether the best state is restored.
        end_began: check at which a plateau began the end; ``None`` if none did.
        train_only: whether it is a check between two validations.
    """
    if reading.progress is None or reading.progress < 1.0:
        return None
    worse = _ended_worse(reading, monitor) if policy.restore_best_at_end else None
    if end_began is None or train_only:
        return worse
    stop = Response(Action.STOP, 1.0)
    if worse is not None:
        return replace(worse, response=stop)
    cause = text.end_is_over(end_began, monitor.name, monitor.shown(monitor.value), monitor.shown(monitor.best))
    return Proposal(reading, Condition.HEALTHY, cause, cause, stop, keeps_state=True)


def _ended_worse(reading: Reading, monitor: MetricView) -> Proposal | None:
    """The proposal to restore the best state.

    Annealed weights are nearly always better than those of any check before. If they are not, the run has overfitted in
    the meantime. A training metric does not tell: it is a mean over the weights *before* its steps, and the snapshot
    holds those after them.
    """
    kept = reading.snapshot_check is not None and reading.snapshot_check == monitor.best_check
    lost, threshold = monitor.value - monitor.best, LOST * monitor.gain
    if not (kept and monitor.fresh and is_held_out(monitor.name) and lost > threshold):
        return None
    said = text.ended_worse(monitor.name, monitor.shown(monitor.value), monitor.shown(monitor.best), monitor.best_check)
    finding = Finding(Condition.OVERFITTING, Verdict.YES, monitor.name, lost, threshold, said)
    return from_finding(reading, finding, Response(Action.RESTORE, 1.0))
