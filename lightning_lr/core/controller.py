"""The spine: one reading in, one decision out.

::

    Reading ─► Series ─► detectors ─► diagnose ─► Debounce ─► Policy ─► Decision

No clock, no files, no randomness, no torch: the same readings give the same decisions, live, on every rank, and in a
replay years later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lightning_lr.core.audit import Probation, undone, with_outcome
from lightning_lr.core.debounce import Debounce
from lightning_lr.core.detectors import Detector, default_detectors
from lightning_lr.core.diagnosis import diagnose
from lightning_lr.core.ending import ended_worse
from lightning_lr.core.learned import has_learned, has_surely_learned
from lightning_lr.core.moves import hold, move
from lightning_lr.core.open_end import begins_end, the_end, the_stop
from lightning_lr.core.opening import annealing, explored
from lightning_lr.core.policy import Response
from lightning_lr.core.recipes import recipe_of
from lightning_lr.core.records import Decision, Diagnosis, Reading, Signals
from lightning_lr.core.restraint import Restraint
from lightning_lr.core.series import Series
from lightning_lr.core.settings import Settings
from lightning_lr.core.vocabulary import Action, Condition
from lightning_lr.core.wording import plural
from lightning_lr.errors import StateError

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
    check 6 · epoch 6 · plateau: val_loss has had no new best for 3 checks (best ...); no snapshot: cut ... × 0.3
    """

    def __init__(self, settings: Settings, detectors: Sequence[Detector] | None = None) -> None:
        self.settings = settings
        self.detectors = tuple(default_detectors() if detectors is None else detectors)
        self.series = Series(
            settings.monitors, settings.mode, settings.train_monitor, settings.min_delta, settings.rel_delta
        )
        self.debounce = Debounce(settings.cooldown, settings.warmup_checks)
        self.recipe = recipe_of(settings.policy)
        self.probation = Probation()
        self.restraint = Restraint()
        self.restores_in_vain = 0
        self.end_began: int | None = None
        self.signals: Signals | None = None
        self.diagnosis: Diagnosis | None = None

    def step(self, reading: Reading) -> Decision:
        """Decide what to do at this check."""
        if reading.trial is not None or reading.anneals:
            self.signals = Signals(reading.check, ())
            decision = explored(reading, self.settings) if reading.trial else annealing(reading)
            self.diagnosis = Diagnosis(decision.condition, (), decision.reason)
            return decision
        self.signals = signals = self.series.update(reading)
        new_best = self._new_best
        if new_best:
            self.restores_in_vain = 0
        self.restraint.look(reading, new_best, learned=self.restraint.state.cut is None and has_surely_learned(signals))
        audited = self.probation.tick(signals.monitors[0], reading)
        findings = [finding for detector in self.detectors for finding in detector.examine(signals)]
        self.diagnosis = diagnosis = diagnose(findings, signals, self.settings.vote)
        worse = ended_worse(reading, signals.monitors[0], self.settings)
        decision = (
            the_stop(reading, self.end_began, signals.monitors[0], worse, self.settings)
            or worse
            or undone(audited, reading, signals.monitors[0], self.settings)
            or self._decide(reading, diagnosis)
        )
        if decision.action is not Action.HOLD:
            self._after(decision, undoes=audited is not None and audited.on_probation)
        return with_outcome(decision, audited, signals.monitors[0])

    @property
    def is_best(self) -> bool:
        """Whether the last reading was a new best of the first monitor: the state worth a snapshot.

        Not while a raise is on probation: the state before it must stay at hand.
        """
        pending = self.probation.pending
        on_trial = pending is not None and pending.on_probation and pending.waited > 0
        return self._new_best and not on_trial

    @property
    def _new_best(self) -> bool:
        if self.signals is None or not self.signals.monitors:
            return False
        first = self.signals.monitors[0]
        return first.fresh and first.since_best == 0 and first.best == first.value and has_learned(self.signals)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next decision depends on, as plain values."""
        return {
            "version": STATE_VERSION,
            "series": self.series.state_dict(),
            "debounce": self.debounce.state_dict(),
            "recipe": self.recipe.state_dict() if self.recipe else None,
            "restores_in_vain": self.restores_in_vain,
            "end_began": self.end_began,
            "probation": self.probation.state_dict(),
            "restraint": self.restraint.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            StateError: where another version wrote it.
        """
        check_version(state)
        self.series.load_state_dict(state["series"])
        self.debounce.load_state_dict(state["debounce"])
        self.restores_in_vain = state["restores_in_vain"]
        self.end_began = state.get("end_began")  # since 0011-unknown-budget
        self.probation.load_state_dict(state["probation"])
        if "restraint" in state:  # not in a checkpoint that was written before it was kept
            self.restraint.load_state_dict(state["restraint"])
        if self.recipe and state["recipe"]:
            self.recipe.load_state_dict(state["recipe"])

    def _decide(self, reading: Reading, diagnosis: Diagnosis) -> Decision:
        if self.recipe and self.signals and not reading.between:
            factor, reason = self.recipe.propose(reading, self.signals, diagnosis)
            response = Response(Action.REDUCE if factor < 1 else Action.HOLD, factor)
            return move(reading, diagnosis, response, f"{self.settings.policy.name}: {reason}", self.settings)
        answer = self.settings.policy.responses.get(diagnosis.condition)
        waiting = self.debounce.wait(diagnosis, answer.patience if answer else 1, reading.between)
        if answer is None or waiting:
            return hold(reading, diagnosis, partial(_said, reading, diagnosis, waiting if answer else ""))
        said = _said(reading, diagnosis)
        if against := self.restraint.against(answer, reading):
            return hold(reading, diagnosis, f"{said}; left alone: {against}")
        if diagnosis.condition is Condition.SLOW_PROGRESS and answer.action is Action.RAISE:
            answer = answer.further(diagnosis.room)
        if answer.action is Action.RAISE and (against := self._against_raising(answer.factor)):
            return hold(reading, diagnosis, f"{said}; no raise: {against}")
        if self.end_began is None and begins_end(reading, diagnosis, self.settings.policy):
            return the_end(reading, diagnosis, said)
        response = answer.escalated(self.restores_in_vain)
        if response.action in (Action.RESTORE, Action.STOP) and self.restores_in_vain:
            said += f"; {self._vain()}"
        lost = response.action is Action.RESTORE and reading.snapshot_check is None
        response = replace(response, action=Action.REDUCE) if lost else response
        if against := self.restraint.against_cutting(diagnosis.condition, response):
            return hold(reading, diagnosis, f"{said}; left alone: {against}")
        said += "; no snapshot: cut without restore" if lost else ""
        return move(reading, diagnosis, response, said, self.settings)

    def _against_raising(self, factor: float) -> str:
        """Why the rate may not be raised now; empty where it may."""
        if self.settings.policy.restores and not (self._new_best and self.signals is not None):
            return "this state is not the best, and could not be brought back"
        return self.probation.against(factor)

    def _after(self, decision: Decision, undoes: bool = False) -> None:
        self.debounce.adjusted()
        self.restraint.moved(decision.factor)
        if self.recipe is None and self.signals is not None:
            self.probation.moved(decision, self.signals.monitors[0])
        if self.recipe is None:
            # A recipe is a schedule: like the steps of the user's own, its moves leave the windows whole. Cut short at
            # every decay they would never be long enough to tell that the run has converged.
            self.series.restart()
        if decision.action is Action.ANNEAL:
            self.end_began = decision.check
        if decision.action is Action.RESTORE and not undoes:
            self.restores_in_vain += 1

    def _vain(self) -> str:
        return f"{self.restores_in_vain} restore{plural(self.restores_in_vain)} brought no new best"


def check_version(state: Mapping[str, Any]) -> None:
    """Refuse a state whose fields may mean something else here: a wrong past is worse than none.

    >>> check_version({"version": 99})
    Traceback (most recent call last):
    lightning_lr.errors.StateError: Expected a state of version 1 but the checkpoint holds version 99. Resume with ...
    """
    if state.get("version") != STATE_VERSION:
        raise StateError(
            f"Expected a state of version {STATE_VERSION} but the checkpoint holds version {state.get('version')}. "
            "Resume with the version of lightning-lr that wrote it, or leave its state out: "
            "`checkpoint['callbacks']` holds it under the callback's name."
        )


def _said(reading: Reading, diagnosis: Diagnosis, waiting: str = "") -> str:
    said = str(diagnosis)
    if reading.between:
        healthy = diagnosis.condition is Condition.HEALTHY
        said = f"between validations, {f'healthy: {reading.train}' if healthy else said}"
    return f"{said}; {waiting}" if waiting else said
