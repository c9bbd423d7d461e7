"""The spine: one reading in, one decision out.

::

    Reading ─► Series ─► detectors ─► diagnose ─► Debounce ─► Policy ─► Decision

No clock, no files, no randomness, no torch: the same readings give the same decisions, live, on every rank, and in a
replay years later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightning_lr.core.bounds import bounded
from lightning_lr.core.debounce import Debounce
from lightning_lr.core.detectors import Detector, default_detectors
from lightning_lr.core.diagnosis import diagnose
from lightning_lr.core.policy import Response
from lightning_lr.core.recipes import recipe_of
from lightning_lr.core.records import Decision, Diagnosis, Reading, Signals
from lightning_lr.core.series import Series
from lightning_lr.core.settings import Settings
from lightning_lr.core.vocabulary import Action
from lightning_lr.core.wording import plural, rate_changes

STATE_VERSION = 1
"""Raised whenever a field of the saved state changes its meaning."""


class Controller:
    """Turns readings into decisions.

    Args:
        settings: what to watch and how to answer.
        detectors: the questions to ask at each check; all of them by default.

    Attributes:
        signals: what the last reading amounted to.
        diagnosis: what was the matter with it.

    >>> controller = Controller(Settings())
    >>> for check, loss in enumerate([1.0, 0.8, 0.7, 0.65, 0.65, 0.65, 0.65]):
    ...     decision = controller.step(Reading(check, epoch=check, step=check, metrics={"val_loss": loss}))
    ...     if decision.action != "hold":
    ...         print(decision)
    check 6 · epoch 6 · plateau: val_loss has had no new best for 3 checks (best 0.65 ...) → learning rate × 0.3
    """

    def __init__(self, settings: Settings, detectors: Sequence[Detector] | None = None) -> None:
        self.settings = settings
        self.detectors = tuple(default_detectors() if detectors is None else detectors)
        self.series = Series(
            settings.monitors, settings.mode, settings.train_monitor, settings.min_delta, settings.rel_delta
        )
        self.debounce = Debounce(settings.cooldown, settings.warmup_checks)
        self.recipe = recipe_of(settings.policy)
        self.restores_in_vain = 0
        self.signals: Signals | None = None
        self.diagnosis: Diagnosis | None = None

    def step(self, reading: Reading) -> Decision:
        """Decide what to do at this check."""
        self.signals = signals = self.series.update(reading)
        if self.is_best:
            self.restores_in_vain = 0
        findings = [finding for detector in self.detectors for finding in detector.examine(signals)]
        self.diagnosis = diagnosis = diagnose(findings, signals, self.settings.vote)
        decision = self._decide(reading, diagnosis)
        if decision.action is not Action.HOLD:
            self._after(decision)
        return decision

    @property
    def is_best(self) -> bool:
        """Whether the last reading was a new best of the first monitor: the state worth a snapshot."""
        first = self.signals.monitors[0] if self.signals else None
        return first is not None and first.fresh and first.since_best == 0 and first.best == first.value

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next decision depends on, as plain values."""
        return {
            "version": STATE_VERSION,
            "series": self.series.state_dict(),
            "debounce": self.debounce.state_dict(),
            "recipe": self.recipe.state_dict() if self.recipe else None,
            "restores_in_vain": self.restores_in_vain,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.series.load_state_dict(state["series"])
        self.debounce.load_state_dict(state["debounce"])
        self.restores_in_vain = state["restores_in_vain"]
        if self.recipe and state["recipe"]:
            self.recipe.load_state_dict(state["recipe"])

    def _decide(self, reading: Reading, diagnosis: Diagnosis) -> Decision:
        if self.recipe and self.signals:
            factor, reason = self.recipe.propose(reading, self.signals, diagnosis)
            move = Response(Action.REDUCE if factor < 1 else Action.HOLD, factor)
            return self._bounded(reading, diagnosis, move, f"{self.settings.policy.name}: {reason}")
        response = self.settings.policy.responses.get(diagnosis.condition)
        waiting = self.debounce.wait(diagnosis, response.patience if response else 1)
        said = f"{diagnosis.condition}: {diagnosis.reason}"
        if response is None:
            return self._hold(reading, diagnosis, said)
        if waiting:
            return self._hold(reading, diagnosis, f"{said}; {waiting}")
        first, response = response, response.escalated(self.restores_in_vain)
        if response.action is Action.STOP:
            return self._hold(reading, diagnosis, f"{said} → stop: {self._vain()}", Action.STOP)
        if response != first:
            said += f"; {self._vain()}"
        if response.action is Action.RESTORE and reading.snapshot_check is None:
            response = replace(response, action=Action.REDUCE)
            said += "; no snapshot: cut without restore"
        return self._bounded(reading, diagnosis, response, said)

    def _bounded(self, reading: Reading, diagnosis: Diagnosis, response: Response, said: str) -> Decision:
        """The decision to change the rate, or to hold where the bounds leave nothing to change."""
        hold = self._hold(reading, diagnosis, said)
        if response.factor == 1.0:
            return hold
        rates = reading.rates.items()
        free_lr = {name: bounded(rate.scheduled, rate.scale * response.factor) for name, rate in rates}
        new_lr = {
            name: bounded(rate.scheduled, rate.scale * response.factor, *self.settings.bounds(group))
            for group, (name, rate) in enumerate(rates)
        }
        factor, move = response.factor, f"learning rate × {response.factor:.3g}"
        if new_lr and new_lr == hold.old_lr:
            factor, move = 1.0, "every learning rate is at its bound already"
        elif new_lr != free_lr:
            move += " within its bounds"
        restores = response.action is Action.RESTORE
        if factor == 1.0 and not restores:
            return replace(hold, reason=f"{said}; {move}")
        back = f"restore {snapshot_name(reading.snapshot_check)}, " if restores else ""
        changes = rate_changes(hold.old_lr, new_lr) if factor != 1.0 else ""
        return replace(
            hold,
            action=response.action,
            factor=factor,
            new_lr=new_lr,
            reason=f"{said} → {back}{move}{changes}",
            snapshot_check=reading.snapshot_check if restores else None,
        )

    def _hold(self, reading: Reading, diagnosis: Diagnosis, reason: str, action: Action = Action.HOLD) -> Decision:
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

    def _after(self, decision: Decision) -> None:
        self.debounce.adjusted()
        self.series.restart()
        if decision.action is Action.RESTORE:
            self.restores_in_vain += 1

    def _vain(self) -> str:
        return f"{self.restores_in_vain} restore{plural(self.restores_in_vain)} brought no new best"


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
