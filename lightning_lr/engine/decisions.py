"""From a proposal to a decision: what is asked for, how it changes the learning rates, and how it is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TypeVar

from lightning_lr.engine import text
from lightning_lr.engine.bounds import bounded
from lightning_lr.engine.policies.epochs import EpochPolicy, EpochState
from lightning_lr.engine.policies.policy import Policy, Response
from lightning_lr.engine.records import Decision, Diagnosis, Finding, MetricViews, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Verdict

V = TypeVar("V")

RESTORING = (Action.RESTORE, Action.STOP)
"""Actions that restore the snapshot; a run that is stopped ends at its best."""

HOLD = Response(Action.HOLD, 1.0)


class Deferred(Mapping[str, V]):
    """A mapping that is computed when it is first read: most decisions hold, and are never read."""

    def __init__(self, compute: Callable[[], Mapping[str, V]]) -> None:
        self._compute = compute

    @cached_property
    def _items(self) -> Mapping[str, V]:
        return self._compute()

    def __getitem__(self, key: str) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[type, tuple[Mapping[str, V]]]:
        return dict, (dict(self),)


@dataclass(frozen=True)
class Proposal:
    """A change that was proposed; the gates (:mod:`~lightning_lr.engine.gates`) may still block it.

    Attributes:
        reading: the check.
        condition: what it answers.
        cause: what triggered it, in words.
        subject: how the sentence of the decision begins; or what writes it.
        response: what is asked for; ``hold`` for nothing.
        evidence: the numbers behind it.
        notes: what else there is to say if it is carried out.
        by_table: whether it comes from a table of responses, and so has to pass every gate; else the bounds alone.
        urgent: whether it waits for nothing, since each further step would be lost.
        keeps_state: whether the snapshot stays where it is, whatever the action.
        probabilities: of the conditions.
    """

    reading: Reading
    condition: Condition
    cause: str
    subject: str | Callable[[], str]
    response: Response = HOLD
    evidence: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    by_table: bool = False
    urgent: bool = False
    keeps_state: bool = False
    probabilities: Mapping[str, float | None] = field(default_factory=dict)

    def sentence(self, notes: Iterable[str] = (), steps: Iterable[str] = ()) -> str:
        """That of a decision."""
        return text.reason(self.subject if isinstance(self.subject, str) else self.subject(), notes, steps)

    @property
    def old_lr(self) -> dict[str, float]:
        """Parameter group → applied rate as it is."""
        return {name: rate.applied for name, rate in self.reading.rates.items()}

    def is_at_bounds(self, settings: Settings) -> bool:
        """Whether no rate would change, since every group is at its bound."""
        factor, old_lr = self.response.factor, self.old_lr
        return factor != 1.0 and bool(old_lr) and foretold(self.reading, factor, settings) == old_lr


def from_finding(reading: Reading, finding: Finding, response: Response, cause: str = "") -> Proposal:
    """The proposal of one finding by itself, without a vote.

    Args:
        reading: the check.
        finding: what was found.
        response: action and factor.
        cause: what triggered it, if that is not the finding.
    """
    diagnosis = Diagnosis(finding.condition, (finding,), finding.reason)
    subject = text.diagnosed(finding.condition, finding.reason)
    return Proposal(reading, finding.condition, cause or finding.reason, subject, response, evidence_of(diagnosis))


def from_table(
    reading: Reading, diagnosis: Diagnosis, policy: Policy, failed_restores: int, may_anneal: bool, train_only: bool
) -> Proposal:
    """What the table of responses has for a diagnosis.

    Args:
        reading: the check.
        diagnosis: what is the matter.
        policy: the table.
        failed_restores: restores since the last new best.
        may_anneal: whether the end of a run with an unknown budget is still to begin.
        train_only: whether it is a check between two validations.
    """
    response, notes = policy.responses.get(diagnosis.condition, HOLD), []
    if response is not HOLD and _is_above_start(diagnosis):
        response = replace(response, factor=min(response.factor, policy.factor_above_start))
    if response.action is Action.RAISE and diagnosis.condition is Condition.SLOW_PROGRESS:
        response = response.raised_further(diagnosis.margin)
    elif may_anneal and response is not HOLD and diagnosis.condition is Condition.PLATEAU and policy.anneal_on_plateau:
        # A plateau at a high rate says that noise has caught up with progress, and a falling rate is the cure. With a
        # known budget it falls in time by itself; see docs/decisions/0011-unknown-budget.md.
        response = replace(response, action=Action.ANNEAL, factor=1.0)
    elif response.action is Action.RESTORE:
        if failed_restores:
            notes.append(text.failed_restores(failed_restores))
        if failed_restores >= policy.max_failed_restores:
            if policy.stops or reading.budget is None:
                response = replace(response, action=Action.STOP, factor=1.0)
            elif not diagnosis.urgent:
                response = HOLD
        elif reading.snapshot_check is None:
            response = replace(response, action=Action.REDUCE)
            notes.append(text.NO_SNAPSHOT)
    healthy = diagnosis.condition is Condition.HEALTHY

    def subject() -> str:
        return text.diagnosed(diagnosis.condition, diagnosis.reason, str(reading.train) if train_only else None)

    return Proposal(
        reading,
        diagnosis.condition,
        "" if healthy else diagnosis.reason,
        subject,
        response,
        Deferred(partial(evidence_of, diagnosis)),
        tuple(notes),
        by_table=True,
        urgent=diagnosis.urgent,
        probabilities=Deferred(lambda: diagnosis.probabilities),
    )


def _is_above_start(diagnosis: Diagnosis) -> bool:
    """Whether a loss that diverges lies above the one before training."""
    return diagnosis.condition is Condition.DIVERGENCE and any(
        f.verdict is Verdict.YES and f.condition is Condition.DIVERGENCE and f.evidence.get("above_start")
        for f in diagnosis.findings
    )


def by_epochs(
    policy: EpochPolicy, state: EpochState, reading: Reading, views: MetricViews, diagnosis: Diagnosis
) -> Proposal:
    """The proposal of a policy that counts epochs."""
    factor, cause = policy.propose(state, reading, views, diagnosis)
    subject, response = f"{policy.name}: {cause}", Response(Action.REDUCE, factor)
    return Proposal(
        reading,
        diagnosis.condition,
        cause,
        subject,
        response,
        Deferred(partial(evidence_of, diagnosis)),
        probabilities=Deferred(lambda: diagnosis.probabilities),
    )


def hold(proposal: Proposal, blocked_by: str | None = None, *notes: str) -> Decision:
    """The decision to leave everything as it is.

    Args:
        proposal: what was asked for.
        blocked_by: name of the gate that blocked it; ``None`` if nothing was asked for.
        notes: what to say about it.
    """
    old_lr = proposal.old_lr
    return Decision(
        check=proposal.reading.check,
        epoch=proposal.reading.epoch,
        step=proposal.reading.step,
        action=Action.HOLD,
        condition=proposal.condition,
        factor=1.0,
        old_lr=old_lr,
        new_lr=old_lr,
        sentence=partial(proposal.sentence, notes),
        evidence=proposal.evidence,
        cause=proposal.cause,
        blocked_by=blocked_by,
        probabilities=proposal.probabilities,
    )


def carry_out(proposal: Proposal, settings: Settings) -> Decision:
    """The decision to do what is asked for, within the bounds."""
    reading, response = proposal.reading, proposal.response
    held = hold(proposal)
    factor, new_lr, steps = response.factor, held.old_lr, {}
    restores = response.action in RESTORING and reading.snapshot_check is not None and not proposal.keeps_state
    if restores and reading.snapshot_check is not None:
        steps["restore"] = text.restored(reading.snapshot_check)
    if proposal.is_at_bounds(settings):
        factor, steps["bounds"] = 1.0, text.AT_BOUNDS
    elif factor != 1.0:
        new_lr = foretold(reading, factor, settings)
        within_bounds = new_lr != foretold(reading, factor, Settings())
        steps["scale"] = text.scaled(factor, held.old_lr, new_lr, within_bounds)
    if response.action is Action.ANNEAL:
        steps["anneal"] = text.annealed(reading.planned_end_step)
    if response.action is Action.STOP:
        steps["stop"] = "stop"
    if factor == 1.0 and response.action in (Action.HOLD, Action.REDUCE, Action.RAISE):
        return held
    return replace(
        held,
        action=response.action,
        factor=factor,
        new_lr=new_lr,
        sentence=proposal.sentence(proposal.notes, steps.values()),
        evidence=dict(proposal.evidence),
        probabilities=dict(proposal.probabilities),
        snapshot_check=reading.snapshot_check if restores else None,
        steps=tuple(step for step in steps if step != "bounds"),
    )


def foretold(reading: Reading, factor: float, settings: Settings) -> dict[str, float]:
    """The applied rate of each group after a factor, by the same formula that `optim` writes it with."""
    return {
        name: bounded(rate.scheduled, rate.scale * factor, *settings.bounds(group))
        for group, (name, rate) in enumerate(reading.rates.items())
    }


def evidence_of(diagnosis: Diagnosis) -> dict[str, float]:
    """The numbers of the findings that decided, each under its own name.

    If several monitors were asked, under ``name/monitor``; at a healthy check, where every finding stands, under
    ``name/condition/monitor``.
    """
    deciding = [f for f in diagnosis.findings if f.condition is diagnosis.condition]
    named: dict[str, float] = {}
    for finding in deciding or diagnosis.findings:
        suffix = f"/{finding.monitor}" if len(deciding) > 1 else ""
        if not deciding:
            suffix = f"/{finding.condition}/{finding.monitor}"
        numbers = {"score": finding.score, "threshold": finding.threshold, **finding.evidence}
        named.update({f"{name}{suffix}": float(number) for name, number in numbers.items()})
    return named
