"""The spine: one reading in, one decision out.

::

    Reading ─► RunHistory ─► detectors ─► diagnose ─► Debounce ─► Policy ─► Decision

No clock, no files, no randomness, no torch: the same readings give the same decisions, live, on every rank, and in a
replay years later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lightning_lr.engine.debounce import Debounce
from lightning_lr.engine.decisions import hold, move
from lightning_lr.engine.detectors import Detector, default_detectors, sorted_detectors
from lightning_lr.engine.diagnosis import diagnose
from lightning_lr.engine.gates import Restraint
from lightning_lr.engine.history.learned import has_learned, has_surely_learned
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.lr_search.choice import annealing, explored
from lightning_lr.engine.open_end import begins_end, the_end, the_stop
from lightning_lr.engine.policies.policy import Response
from lightning_lr.engine.policies.recipes import recipe_of
from lightning_lr.engine.records import Decision, Diagnosis, Finding, MetricViews, Reading
from lightning_lr.engine.review import RaiseGuard, undone, with_outcome
from lightning_lr.engine.run_end import ended_worse
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.errors import ArgumentError, StateError

STATE_VERSION = 1
"""Raised whenever a field of the saved state changes its meaning."""


class DecisionEngine:
    """Turns readings into decisions.

    Args:
        settings: what to watch and how to answer.
        detectors: which to run at each check; by default, the built-in ones and those of the settings.

    Attributes:
        views: what the last reading amounted to.
        diagnosis: what was the matter with it.
        conditions: every condition that a decision may name, sorted.

    >>> controller = DecisionEngine(Settings())
    >>> for check, loss in enumerate([1.0, 0.8, 0.7, 0.65, 0.65, 0.65, 0.65]):
    ...     decision = controller.step(Reading(check, epoch=check, step=check, metrics={"val_loss": loss}))
    ...     if decision.action != "hold":
    ...         print(decision)
    check 6 · epoch 6 · plateau: val_loss has had no new best for 3 checks (best ...); no snapshot: cut ... × 0.3
    """

    def __init__(self, settings: Settings, detectors: Sequence[Detector] | None = None) -> None:
        self.settings = settings
        asked = (*default_detectors(), *settings.detectors) if detectors is None else detectors
        self.detectors = sorted_detectors(asked)
        self._by_condition = {detector.condition: detector for detector in self.detectors}
        self.conditions = sorted({Condition.HEALTHY, *(d.condition for d in (*default_detectors(), *self.detectors))})
        self.series = RunHistory(
            settings.monitors, settings.mode, settings.train_monitor, settings.min_delta, settings.rel_delta
        )
        self.debounce = Debounce(settings.cooldown, settings.warmup_checks)
        self.recipe = recipe_of(settings.policy)
        self.raise_guard = RaiseGuard()
        self.restraint = Restraint()
        self.failed_restores = 0
        self.end_began: int | None = None
        self.views: MetricViews | None = None
        self.diagnosis: Diagnosis | None = None

    def step(self, reading: Reading) -> Decision:
        """Decide what to do at this check."""
        if reading.trial is not None or reading.anneals:
            self.views = MetricViews(reading.check, ())
            decision = explored(reading, self.settings) if reading.trial else annealing(reading)
            self.diagnosis = Diagnosis(decision.condition, (), decision.reason)
            return decision
        self.views = views = self.series.update(reading)
        new_best = self._new_best
        if new_best:
            self.failed_restores = 0
        self.restraint.look(reading, new_best, learned=self.restraint.state.cut is None and has_surely_learned(views))
        reviewed = self.raise_guard.tick(views.monitors[0], reading)
        findings = [finding for detector in self.detectors for finding in _findings(detector, views)]
        self.diagnosis = diagnosis = diagnose(findings, views, self._by_condition, self.settings.vote)
        worse = ended_worse(reading, views.monitors[0], self.settings)
        decision = (
            the_stop(reading, self.end_began, views.monitors[0], worse, self.settings)
            or worse
            or undone(reviewed, reading, views.monitors[0], self.settings)
            or self._decide(reading, diagnosis)
        )
        if decision.action is not Action.HOLD:
            self._after(decision, undoes=reviewed is not None and reviewed.on_probation)
        return with_outcome(decision, reviewed, views.monitors[0])

    @property
    def is_best(self) -> bool:
        """Whether the last reading was a new best of the first monitor: the state worth a snapshot.

        Not while a raise is on probation: the state before it must stay at hand.
        """
        pending = self.raise_guard.pending
        on_trial = pending is not None and pending.on_probation and pending.waited > 0
        return self._new_best and not on_trial

    @property
    def _new_best(self) -> bool:
        if self.views is None or not self.views.monitors:
            return False
        first = self.views.monitors[0]
        return first.fresh and first.since_best == 0 and first.best == first.value and has_learned(self.views)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next decision depends on, as plain values."""
        return {
            "version": STATE_VERSION,
            "history": self.series.state_dict(),
            "debounce": self.debounce.state_dict(),
            "recipe": self.recipe.state_dict() if self.recipe else None,
            "failed_restores": self.failed_restores,
            "end_began": self.end_began,
            "raise_guard": self.raise_guard.state_dict(),
            "restraint": self.restraint.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            StateError: where another version wrote it.
        """
        check_version(state)
        self.series.load_state_dict(state["history"])
        self.debounce.load_state_dict(state["debounce"])
        self.failed_restores = state["failed_restores"]
        self.end_began = state.get("end_began")  # since 0011-unknown-budget
        self.raise_guard.load_state_dict(state["raise_guard"])
        if "restraint" in state:  # not in a checkpoint that was written before it was kept
            self.restraint.load_state_dict(state["restraint"])
        if self.recipe and state["recipe"]:
            self.recipe.load_state_dict(state["recipe"])

    def _decide(self, reading: Reading, diagnosis: Diagnosis) -> Decision:
        if self.recipe and self.views and not reading.train_only:
            factor, reason = self.recipe.propose(reading, self.views, diagnosis)
            response = Response(Action.REDUCE if factor < 1 else Action.HOLD, factor)
            return move(reading, diagnosis, response, f"{self.settings.policy.name}: {reason}", self.settings)
        answer = self.settings.policy.responses.get(diagnosis.condition)
        waiting = self.debounce.wait(diagnosis, answer.patience if answer else 1, reading.train_only)
        if answer is None or waiting:
            return hold(reading, diagnosis, _said(reading, diagnosis, waiting if answer else ""))
        said = _said(reading, diagnosis)
        if against := self.restraint.against(answer, reading):
            return hold(reading, diagnosis, f"{said}; left alone: {against}")
        if diagnosis.condition is Condition.SLOW_PROGRESS and answer.action is Action.RAISE:
            answer = answer.further(diagnosis.room)
        if answer.action is Action.RAISE and (against := self._against_raising(answer.factor)):
            return hold(reading, diagnosis, f"{said}; no raise: {against}")
        if self.end_began is None and begins_end(reading, diagnosis, self.settings.policy):
            return the_end(reading, diagnosis, said)
        response = answer.escalated(self.failed_restores)
        if response.action in (Action.RESTORE, Action.STOP) and self.failed_restores:
            said += f"; {self._vain()}"
        lost = response.action is Action.RESTORE and reading.snapshot_check is None
        response = replace(response, action=Action.REDUCE) if lost else response
        if against := self.restraint.against_cutting(response, diagnosis.urgent):
            return hold(reading, diagnosis, f"{said}; left alone: {against}")
        said += "; no snapshot: cut without restore" if lost else ""
        return move(reading, diagnosis, response, said, self.settings)

    def _against_raising(self, factor: float) -> str:
        """Why the rate may not be raised now; empty where it may."""
        if self.settings.policy.restores and not (self._new_best and self.views is not None):
            return "this state is not the best, and could not be brought back"
        return self.raise_guard.against(factor)

    def _after(self, decision: Decision, undoes: bool = False) -> None:
        self.debounce.adjusted()
        self.restraint.moved(decision.factor)
        if self.recipe is None and self.views is not None:
            self.raise_guard.moved(decision, self.views.monitors[0])
        if self.recipe is None:
            # A recipe is a schedule: like the steps of the user's own, its moves leave the windows whole. Cut short at
            # every decay they would never be long enough to tell that the run has converged.
            self.series.restart()
        if decision.action is Action.ANNEAL:
            self.end_began = decision.check
        if decision.action is Action.RESTORE and not undoes:
            self.failed_restores += 1

    def _vain(self) -> str:
        return f"{self.failed_restores} restore{plural(self.failed_restores)} brought no new best"


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


def _findings(detector: Detector, views: MetricViews) -> tuple[Finding, ...]:
    """What one detector finds, checked: it may be a user's own."""
    found: Any = detector.examine(views)
    if isinstance(found, tuple) and all(isinstance(f, Finding) and f.condition is detector.condition for f in found):
        return found
    raise ArgumentError(
        f"Expected {type(detector).__name__}.examine to return a tuple of findings of {detector.condition!r} but got "
        f"{found!r}. Make each with self.finding(...), and return () if there is nothing to say."
    )


def _said(reading: Reading, diagnosis: Diagnosis, waiting: str = "") -> str:
    said = str(diagnosis)
    if reading.train_only:
        healthy = diagnosis.condition is Condition.HEALTHY
        said = f"between validations, {f'healthy: {reading.train}' if healthy else said}"
    return f"{said}; {waiting}" if waiting else said
