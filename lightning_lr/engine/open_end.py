"""The end of a run whose budget is unknown: it begins at a plateau, and with it the run is over.

A plateau at a high rate says that noise has caught up with progress, and a falling rate is the cure. With a known
budget the fall comes in time by itself. Without one the plateau is the moment, and the steps so far say how long it
takes: see docs/decisions/0011-unknown-budget.md.
"""

from __future__ import annotations

from dataclasses import replace

from lightning_lr.engine.decisions import hold, move
from lightning_lr.engine.policies.policy import Policy, Response
from lightning_lr.engine.records import Decision, Diagnosis, MetricView, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition


def begins_end(reading: Reading, diagnosis: Diagnosis, policy: Policy) -> bool:
    """Whether the end begins with this diagnosis, which has been waited for long enough.

    >>> reading, flat = Reading(9, 9, 900, planned_end_step=1350), Diagnosis(Condition.PLATEAU, (), "flat")
    >>> begins_end(reading, flat, Policy("mine", anneal_on_plateau=True)), begins_end(reading, flat, Policy("mine"))
    (True, False)
    """
    return (
        reading.planned_end_step is not None and diagnosis.condition is Condition.PLATEAU and policy.anneal_on_plateau
    )


def the_end(reading: Reading, diagnosis: Diagnosis, said: str) -> Decision:
    """The decision to begin it.

    >>> print(the_end(Reading(9, 9, 900, planned_end_step=1350), Diagnosis(Condition.PLATEAU, (), ""), "plateau: flat"))
    check 9 · epoch 9 · plateau: flat → anneal: from here on the learning rate falls linearly to zero at step 1350...
    """
    end = reading.planned_end_step
    what = f"from here on the learning rate falls linearly to zero at step {end}, and there the run ends"
    return hold(reading, diagnosis, f"{said} → anneal: {what}", Action.ANNEAL)


def the_stop(
    reading: Reading, begun: int | None, monitor: MetricView, worse: Decision | None, settings: Settings
) -> Decision | None:
    """The decision to stop once the end is over; ``None`` before.

    Args:
        reading: the check.
        begun: check with which the end began; ``None`` where none did.
        monitor: what the first monitor amounts to.
        worse: the decision to bring the best state back, where the run ended worse than that.
        settings: bounds.
    """
    if begun is None or reading.train_only or reading.progress is None or reading.progress < 1.0:
        return None
    if worse is not None:
        diagnosis = Diagnosis(worse.condition, (), "")
        stop = move(reading, diagnosis, Response(Action.STOP, 1.0), worse.reason.partition(" → ")[0], settings)
        return replace(stop, evidence=worse.evidence)
    value, best = monitor.shown(monitor.value), monitor.shown(monitor.best)
    said = f"the end that began at check {begun} is over, {monitor.name} ends at {value:.4g} (best {best:.4g}) → stop"
    return hold(reading, Diagnosis(Condition.HEALTHY, (), said), said, Action.STOP)
