"""Why no change was made at a check: every gate that may block one, in one ordered list.

A change from the policy's table has to pass :data:`GATES`, in that order; the first that blocks it is named
in the decision (``blocked_by``) and in its sentence. Urgent conditions (divergence, NaN or infinite losses) pass
warm-up, cooldown, patience and the reduction limit: each further step would be lost. Changes that are asked for by
something else (the end of the budget, a review, a policy that counts epochs) have to pass the bounds alone.

The counters are all here too, one dataclass, saved whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning_lr.engine import text
from lightning_lr.engine.decisions import Proposal, carry_out, hold
from lightning_lr.engine.policies.policy import STALLED
from lightning_lr.engine.records import Decision, Diagnosis, MetricView, Reading
from lightning_lr.engine.review import REVIEW_CHECKS
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition

SCHEDULE_TOLERANCE = 1e-4
"""Relative change of the scheduled rate from one check to the next beyond which the schedule is changing it. A cosine
over a thousand checks changes by more than that from its first tenth on."""

REDUCTION_LIMIT = 1e-3
"""Limits the total reduction since the best check. Usual schedules end between a tenth and a thousandth of their
highest rate, so whatever a lower rate could bring has come by then; a policy that stops the run has a number for it."""

CUTS = (Action.REDUCE, Action.RESTORE)

CUT_WAIT = 5
"""Checks from one answer to a stall to the next; twice as many for each in a row that brought nothing. So a run of a
thousand checks is cut without effect seven times at most, as a healthy one with bumps would be."""

ENOUGH_GAIN = 0.005
"""Share of the whole gain that an answer must bring to count: half of what a stall promises is not to come."""


@dataclass
class GateState:
    """What the gates remember from check to check; plain values, saved whole.

    Attributes:
        checks: validations so far.
        cooldown_left: checks until the next adjustment may be made.
        streaks: condition → checks in a row at which it was not ruled out.
        scheduled: parameter group → rate of the user's schedule.
        schedule_changes: whether that was another one at the check before.
        best_step: step of the best so far, if the budget is known.
        total_factor: product of the adjustments since the best, or since the run has learned; ``None`` before.
        new_best: whether this check is the best so far.
        rate: highest applied rate of all groups; 0 if there is none.
        rate_held: whether it was the same at the check before.
        failed_raises: raises that were undone since one was kept.
        raise_wait: checks for which no raise may be tried.
        diverged_at: lowest applied rate at which the run diverged.
        losses_jumped: whether the objective may have changed as this epoch began.
        best: oriented best value of the first monitor; ``None`` before the first.
        gain: by how much it lies below the value before training, or the first.
        cut_best: that best when a stall was last answered.
        failed_cuts: answers to a stall in a row that brought nothing.
        cut_wait: checks for which no stall is answered.
    """

    checks: int = 0
    cooldown_left: int = 0
    streaks: dict[str, int] = field(default_factory=dict)
    scheduled: dict[str, float] = field(default_factory=dict)
    schedule_changes: bool = False
    best_step: float | None = None
    total_factor: float | None = None
    new_best: bool = False
    rate: float = 0.0
    rate_held: bool = False
    failed_raises: int = 0
    raise_wait: int = 0
    diverged_at: float | None = None
    losses_jumped: bool = False
    best: float | None = None
    gain: float = 0.0
    cut_best: float | None = None
    failed_cuts: int = 0
    cut_wait: int = 0

    @property
    def cut_brought(self) -> bool:
        """Whether the last answer to a stall has brought something; also if there was none."""
        if self.cut_best is None or self.best is None:
            return True
        return self.cut_best - self.best >= ENOUGH_GAIN * self.gain > 0


def no_response(asked: Proposal, state: GateState, settings: Settings) -> str:
    """A detector of the user's own has found a condition that the policy has no response to."""
    unanswered = any(asked.condition == detector.condition for detector in settings.unanswered)
    return text.no_response(settings.policy.name) if unanswered else ""


def losses_jumped(asked: Proposal, state: GateState, settings: Settings) -> str:
    """Both losses may mean something else from this epoch on: the next check decides."""
    return text.LOSSES_JUMPED if state.losses_jumped else ""


def warm_up(asked: Proposal, state: GateState, settings: Settings) -> str:
    """The first checks of a run make no adjustment (``warmup_checks``)."""
    left = settings.policy.warmup_checks - state.checks
    return text.warm_up(left, settings.policy.warmup_checks) if left > 0 and not asked.urgent else ""


def cooldown(asked: Proposal, state: GateState, settings: Settings) -> str:
    """The checks after an adjustment make no other (``cooldown``)."""
    return text.cooldown(state.cooldown_left) if state.cooldown_left and not asked.urgent else ""


def patience(asked: Proposal, state: GateState, settings: Settings) -> str:
    """The condition has not been seen at enough checks in a row.

    With a patience of 3 the third acts, as in Lightning's ``EarlyStopping`` and in Keras (torch's ``ReduceLROnPlateau``
    acts on the fourth), provided that the verdict there is yes: an undecided check counts, but never acts.
    """
    seen = state.streaks.get(asked.condition, 0)
    return text.patience(seen, asked.response.patience) if seen < asked.response.patience and not asked.urgent else ""


def scheduler_changes_lr(asked: Proposal, state: GateState, settings: Settings) -> str:
    """The user's schedule is changing the rate, which may end the plateau; a cut in its midst would stay.

    A stall that is overfitting by its larger part alone is half a plateau: there overfitting itself must be probable.
    """
    overfits = asked.probabilities.get(asked.condition) if asked.condition is Condition.OVERFITTING else None
    doubtful = overfits is not None and overfits < settings.policy.min_probability
    defers = asked.response.defer_to_scheduler or doubtful
    return text.SCHEDULER_CHANGES_LR if defers and state.schedule_changes else ""


def young_plateau(asked: Proposal, state: GateState, settings: Settings) -> str:
    """The best check was too short a time ago, for this budget: three checks are a tenth of thirty, nothing of 200."""
    step, wanted = step_of(asked.reading), asked.response.min_plateau_fraction
    if not wanted or step is None or state.best_step is None or asked.reading.budget is None:
        return ""
    lasted = (step - state.best_step) / asked.reading.budget
    return text.young_plateau(lasted, wanted) if lasted < wanted else ""


def not_the_best(asked: Proposal, state: GateState, settings: Settings) -> str:
    """A raise could not be undone: the current weights are not the best snapshot."""
    raises = asked.response.action is Action.RAISE
    return text.NOT_THE_BEST if raises and settings.policy.restores and not state.new_best else ""


def last_raise_failed(asked: Proposal, state: GateState, settings: Settings) -> str:
    """The last raise did not help; each time that happens the next one waits twice as long."""
    raises = asked.response.action is Action.RAISE
    return text.last_raise_failed(state.raise_wait) if raises and state.raise_wait else ""


def lr_has_changed(asked: Proposal, state: GateState, settings: Settings) -> str:
    """The applied rate is not that of the check before: in a warm-up or a decay nothing is raised."""
    return text.LR_HAS_CHANGED if asked.response.action is Action.RAISE and not state.rate_held else ""


def diverged_before(asked: Proposal, state: GateState, settings: Settings) -> str:
    """A raise would reach a rate at which the run diverged."""
    if asked.response.action is not Action.RAISE or state.diverged_at is None:
        return ""
    return text.diverged_before(state.diverged_at) if state.rate * asked.response.factor >= state.diverged_at else ""


def reduction_limit(asked: Proposal, state: GateState, settings: Settings) -> str:
    """The reductions since the best multiply to a thousandth already, and none has brought a new best."""
    factor = state.total_factor
    # A little more than the limit: three cuts to a tenth are a thousandth but for rounding.
    reached = factor is not None and factor <= 1.001 * REDUCTION_LIMIT
    if factor is None or not reached or asked.response.action is not Action.REDUCE or asked.urgent:
        return ""
    return text.reduction_limit(factor)


def last_cut_failed(asked: Proposal, state: GateState, settings: Settings) -> str:
    """The last answer to a stall has brought nothing yet; each time that happens the next one waits twice as long."""
    waits = asked.condition in STALLED and asked.response.action in CUTS and state.cut_wait and not state.cut_brought
    return text.last_cut_failed(state.cut_wait) if waits else ""


def bounds(asked: Proposal, state: GateState, settings: Settings) -> str:
    """Every group is at ``min_lr`` or ``max_lr`` already."""
    scales = asked.response.action in (Action.REDUCE, Action.RAISE)
    return text.AT_BOUNDS if scales and asked.is_at_bounds(settings) else ""


Gate = Callable[[Proposal, GateState, Settings], str]
"""Says why the proposal is blocked, in words; empty if it is not. Its name is what ``blocked_by`` says."""

GATES: Sequence[Gate] = (
    no_response,
    losses_jumped,
    warm_up,
    cooldown,
    patience,
    scheduler_changes_lr,
    young_plateau,
    not_the_best,
    last_raise_failed,
    lr_has_changed,
    diverged_before,
    last_cut_failed,
    reduction_limit,
    bounds,
)


class Gates:
    """The gates of one run, and their counters.

    A condition's streak counts the checks in a row at which it was not ruled out. A check at which no detector could
    look for the condition, since nothing fresh came, neither adds to its streak nor ends it.

    >>> from lightning_lr.engine.policies import Response
    >>> plateau = Diagnosis(Condition.PLATEAU, (), "flat", frozenset({Condition.PLATEAU}))
    >>> gates, answer = Gates(Settings()), Response(Action.REDUCE, 0.5, patience=3)
    >>> for check in range(3):
    ...     reading = Reading(check, check, check)
    ...     gates.update(reading, plateau)
    ...     print(gates.decide(Proposal(reading, plateau.condition, "", "flat", answer, by_table=True)).reason)
    flat; 1 of 3 checks in a row
    flat; 2 of 3 checks in a row
    flat → learning rate × 0.5
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = GateState()

    def update(
        self,
        reading: Reading,
        diagnosis: Diagnosis,
        monitor: MetricView | None = None,
        new_best: bool = False,
        learned: bool = False,
    ) -> None:
        """Take note of one check, before anything is decided.

        Args:
            reading: the check.
            diagnosis: what is the matter.
            monitor: the first one.
            new_best: whether it has a new best at the check.
            learned: whether the run has surely learned: before that its rate may be too high by any factor.
        """
        state = self.state
        scheduled = {name: rate.scheduled for name, rate in reading.rates.items()}
        state.schedule_changes = any(_changed(state.scheduled.get(name), rate) for name, rate in scheduled.items())
        state.scheduled = scheduled
        state.new_best = new_best
        if new_best or state.best_step is None:
            state.best_step = step_of(reading)
        if learned if state.total_factor is None else new_best:
            state.total_factor = 1.0
        rate = max((rate.applied for rate in reading.rates.values()), default=0.0)
        state.rate, state.rate_held = rate, rate == state.rate
        if monitor is not None and monitor.fresh:
            state.raise_wait = max(0, state.raise_wait - 1)
            state.cut_wait = max(0, state.cut_wait - 1)
            if math.isfinite(monitor.best):
                state.best, state.gain = monitor.best, monitor.gain
        if state.streaks or diagnosis.suspected:
            unasked = {name: seen for name, seen in state.streaks.items() if name not in diagnosis.asked}
            state.streaks = unasked | {str(c): state.streaks.get(c, 0) + 1 for c in sorted(diagnosis.suspected)}

    def decide(self, proposal: Proposal) -> Decision:
        """Carry a proposal out, or hold because of the first gate that blocks it."""
        asks = proposal.response.action is not Action.HOLD
        for gate in GATES if proposal.by_table else (bounds,):
            if (asks or gate is no_response) and (why := gate(proposal, self.state, self.settings)):
                notes = proposal.notes if gate is bounds else ()
                return hold(proposal, gate.__name__, *notes, why)
        return carry_out(proposal, self.settings)

    def decided(self, decision: Decision, train_only: bool = False) -> None:
        """Take note of what was decided.

        Args:
            decision: of this check.
            train_only: whether it was a check between two validations: warm-up and cooldown count validations.
        """
        state = self.state
        state.checks += not train_only
        if decision.action is Action.HOLD:
            state.cooldown_left = max(0, state.cooldown_left - (not train_only))
            return
        state.cooldown_left, state.streaks = self.settings.cooldown, {}
        if state.total_factor is not None:
            state.total_factor *= decision.factor
        if decision.condition in STALLED and decision.action in CUTS and state.total_factor is not None:
            state.failed_cuts = 0 if state.cut_brought else state.failed_cuts + 1
            state.cut_wait, state.cut_best = CUT_WAIT * 2**state.failed_cuts, state.best
        if decision.condition in (Condition.DIVERGENCE, Condition.NON_FINITE):
            state.diverged_at = min(state.rate, state.diverged_at or state.rate)

    def begin_anew(self) -> None:
        """Forget what belongs to another objective; the warm-up of the run is over all the same."""
        known = self.state
        self.state = GateState(known.checks, scheduled=known.scheduled, rate=known.rate, rate_held=known.rate_held)

    def raise_reviewed(self, helped: bool) -> None:
        """Take note of whether a raise has helped."""
        self.state.failed_raises = 0 if helped else self.state.failed_raises + 1
        self.state.raise_wait = 0 if helped else REVIEW_CHECKS * 2**self.state.failed_raises

    def state_dict(self) -> dict[str, Any]:
        """The counters, as plain values."""
        return asdict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        copies = {"streaks": dict(state["streaks"]), "scheduled": dict(state["scheduled"])}
        self.state = GateState(**{**state, **copies})


def step_of(reading: Reading) -> float | None:
    """Steps so far, not the share of them: a run that is resumed with more epochs has another budget."""
    if reading.progress is None or reading.budget is None:
        return None
    return reading.progress * reading.budget


def _changed(before: float | None, now: float) -> bool:
    return before is not None and abs(now - before) > SCHEDULE_TOLERANCE * max(abs(before), abs(now))
