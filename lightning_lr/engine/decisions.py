"""Decisions, put together: to hold, or to move the rate within its bounds."""

from __future__ import annotations

from dataclasses import replace

from lightning_lr.engine.bounds import bounded
from lightning_lr.engine.policies.policy import Response
from lightning_lr.engine.records import Decision, Diagnosis, Finding, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.text import rate_changes
from lightning_lr.engine.vocabulary import Action

RESTORING = (Action.RESTORE, Action.EXPLORE, Action.STOP)
"""Actions that bring the snapshot back; a run that is stopped ends at its best."""


def hold(reading: Reading, diagnosis: Diagnosis, reason: str, action: Action = Action.HOLD) -> Decision:
    """The decision to leave the rate as it is.

    Args:
        reading: the check.
        diagnosis: what was the matter.
        reason: the sentence.
        action: another one that leaves the rate as it is.
    """
    old_lr = {name: rate.applied for name, rate in reading.rates.items()}
    return Decision(
        check=reading.check,
        epoch=reading.epoch,
        step=reading.step,
        action=action,
        condition=diagnosis.condition,
        factor=1.0,
        old_lr=old_lr,
        new_lr=old_lr,
        reason=reason,
        evidence=evidence_of(diagnosis),
    )


def move(reading: Reading, diagnosis: Diagnosis, response: Response, said: str, settings: Settings) -> Decision:
    """The decision to change the rate, or to hold where the bounds leave nothing to change.

    Args:
        reading: the check.
        diagnosis: what it answers.
        response: action and factor.
        said: the sentence so far.
        settings: the bounds.
    """
    held = hold(reading, diagnosis, said)
    restores = response.action in RESTORING and reading.snapshot_check is not None
    if response.factor == 1.0 and response.action not in RESTORING:
        return held
    new_lr = held.old_lr if response.factor == 1.0 else foretold(reading, response.factor, settings)
    factor, done = response.factor, f"learning rate × {response.factor:.3g}"
    if factor != 1.0 and new_lr and new_lr == held.old_lr:
        factor, done = 1.0, "every learning rate is at its bound already"
    elif new_lr != foretold(reading, response.factor, Settings()):
        done += " within its bounds"
    if factor == 1.0 and response.action not in RESTORING:
        return replace(held, reason=f"{said}; {done}")
    steps = [f"restore {snapshot_name(reading.snapshot_check)}"] if restores else []
    steps += [done + (rate_changes(held.old_lr, new_lr) if factor != 1.0 else "")] if response.factor != 1.0 else []
    steps += ["stop"] if response.action is Action.STOP else []
    return replace(
        held,
        action=response.action,
        factor=factor,
        new_lr=new_lr,
        reason=f"{said} → {', '.join(steps)}",
        snapshot_check=reading.snapshot_check if restores else None,
    )


def answer(reading: Reading, finding: Finding, response: Response, settings: Settings) -> Decision:
    """The move that one finding asks for by itself, without a vote.

    Args:
        reading: the check.
        finding: what was found; its condition and its sentence become those of the decision.
        response: action and factor.
        settings: the bounds.
    """
    diagnosis = Diagnosis(finding.condition, (finding,), finding.reason)
    return move(reading, diagnosis, response, str(diagnosis), settings)


def foretold(reading: Reading, factor: float, settings: Settings) -> dict[str, float]:
    """The applied rate of each group after a factor, by the same formula that the live side writes it with."""
    return {
        name: bounded(rate.scheduled, rate.scale * factor, *settings.bounds(group))
        for group, (name, rate) in enumerate(reading.rates.items())
    }


def evidence_of(diagnosis: Diagnosis) -> dict[str, float]:
    """The numbers of the findings that decided, each under its own name.

    Where several monitors were asked, under ``name/monitor``; at a healthy check, where every finding stands, under
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


def snapshot_name(check: int | None) -> str:
    """The state of a check, in words.

    >>> snapshot_name(-1), snapshot_name(4)
    ('the state of the start', 'the state of check 4')
    """
    return "the state of the start" if check == -1 else f"the state of check {check}"
