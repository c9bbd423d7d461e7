"""One reading → one decision: the story of the engine.

::

    Reading ─► RunHistory ─► detectors ─► diagnose ─► Proposal ─► gates ─► Decision

No clock, no files, no randomness, no torch: the same readings give the same decisions, live, on every rank, and in a
replay years later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from lightning_lr.engine import text
from lightning_lr.engine.decisions import Proposal, by_epochs, carry_out, from_table, hold
from lightning_lr.engine.detectors import default_detectors, sorted_detectors
from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.diagnosis import Findings, diagnose
from lightning_lr.engine.gates import Gates
from lightning_lr.engine.history.learned import has_learned, has_surely_learned
from lightning_lr.engine.history.objective import ObjectiveWatch
from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.lr_search.proposals import first_rate, taken_back, wrecked
from lightning_lr.engine.lr_search.watch import SearchWatch
from lightning_lr.engine.policies.epochs import EpochPolicy, EpochState
from lightning_lr.engine.records import (
    Adjustment,
    Decision,
    Diagnosis,
    JournalEntry,
    MetricView,
    MetricViews,
    Reading,
    Review,
    SearchResult,
)
from lightning_lr.engine.review import PendingReview, undo
from lightning_lr.engine.run_end import run_ended
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Event, Mode, Verdict
from lightning_lr.errors import StateError

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
        review: what an earlier change has brought, at the check at which that is known.
        began_anew: why the last check began anew with another objective; empty if it did not.
        is_best: whether the state of the last check is worth a snapshot: it is the best, or better than the one kept.
        kept_value: oriented value of the first monitor when a state was last worth one.
        conditions: every condition that a decision may name, sorted.

    >>> engine = DecisionEngine(Settings())
    >>> for check, loss in enumerate([1.0, 0.8, 0.7, *[0.65] * 10]):
    ...     decision = engine.check(Reading(check, epoch=check, step=check, metrics={"val_loss": loss}))
    ...     if decision.action != "hold":
    ...         print(decision)
    check 12 · epoch 12 · plateau: no new best of val_loss for 9 of 13 checks (best ... at check 3); ...
    """

    def __init__(self, settings: Settings, detectors: Sequence[Detector] | None = None) -> None:
        self.settings = settings
        chosen = (*default_detectors(), *settings.detectors) if detectors is None else detectors
        self.detectors = sorted_detectors(chosen)
        self._by_condition = {detector.condition: detector for detector in self.detectors}
        # Of the built-in conditions one without a response may explain others away (`loss_spike`); a user's own does so
        # only by being answered.
        built_in = {detector.condition for detector in default_detectors()}
        self._only_recorded = {detector.condition for detector in settings.unanswered} - built_in
        self.conditions = sorted({Condition.HEALTHY, *built_in, *self._by_condition})
        self.history = _history(settings)
        self.objective = ObjectiveWatch()
        self.began_anew = ""
        self.gates = Gates(settings)
        self.epoch_state = EpochState()
        self.pending: PendingReview | None = None
        self.failed_restores = 0
        self.end_began: int | None = None
        self.search = SearchWatch()
        self.views: MetricViews | None = None
        self.diagnosis: Diagnosis | None = None
        self.review: Review | None = None
        self.is_best = False
        self.kept_value: float | None = None

    def check(self, reading: Reading, train_only: bool = False) -> Decision:
        """Decide what to do after a validation, or between two, with the training loss alone (``train_only``)."""
        self._look_at_objective(reading, train_only)
        self.views = views = self.history.update(reading, train_only)
        findings = Findings(self.detectors, views)
        self.diagnosis = diagnosis = diagnose(
            findings, views, self._by_condition, self.settings.vote, self._only_recorded
        )
        self.failed_restores = 0 if self._new_best else self.failed_restores
        learned = self.gates.state.total_factor is None and has_surely_learned(views)
        self.gates.update(reading, diagnosis, views.monitors[0], self._new_best, learned)
        self._count_review(views.monitors[0])
        undone = undo(self.review, reading)
        answer, searched = Verdict.UNDECIDED, ""
        if not diagnosis.urgent:
            answer, searched = self.search.look(views.monitors[0], reading.progress)
        refuted = taken_back(reading, searched, self.search.scale) if answer is Verdict.NO else None
        proposal = (
            run_ended(reading, views.monitors[0], self.settings.policy, self.end_began, train_only)
            or refuted
            or undone
            or self._answer(reading, diagnosis, train_only)
        )
        decision = self.gates.decide(proposal)
        self.search.decided(decision, taken_back=proposal is refuted)
        self.gates.decided(decision, train_only)
        if decision.action is not Action.HOLD:
            self._changed(decision, views.monitors[0], undoes=proposal is undone)
        # What is to be restored must not be written over.
        self.is_best = decision.snapshot_check is None and self._is_best(views.monitors[0])
        self.kept_value = views.monitors[0].value if self.is_best else self.kept_value
        notes = [text.began_anew(self.began_anew)] if self.began_anew else []
        notes += [str(self.review)] if self.review is not None and decision.action is Action.HOLD else []
        notes += [searched] if searched and proposal is not refuted else []
        return replace(decision, sentence=text.reason(decision.reason, notes)) if notes else decision

    def _look_at_objective(self, reading: Reading, train_only: bool) -> None:
        """Begin anew if the user says so, or both losses have jumped and stayed."""
        value, sign = reading.metrics.get(self.settings.monitors[0]), -1 if self.settings.mode is Mode.MAX else 1
        verdict = self.objective.update(reading, None if value is None else sign * value, train_only)
        self.began_anew = reading.reset or (text.LOSSES_STAYED if verdict is Verdict.YES else "")
        if self.began_anew:
            self.history, self.objective = _history(self.settings), ObjectiveWatch()
            self.gates.begin_anew()
            self.pending, self.failed_restores = None, 0
        self.gates.state.losses_jumped = verdict is Verdict.UNDECIDED and not self.began_anew

    def search_ended(self, reading: Reading, result: SearchResult) -> Decision:
        """Decide which learning rate the run begins with; the reading has no metrics."""
        decision = carry_out(first_rate(reading, result), self.settings)
        self.search = SearchWatch.begun(result, decision, reading.untrained)
        return self._without_metrics(decision)

    def run_wrecked(self, reading: Reading) -> Decision:
        """Restore the start, as the losses of the steps lie far above that before training."""
        decision = carry_out(wrecked(reading, self.search.tries + 1), self.settings)
        self.search.tries += 1
        self.search.decided(decision)
        self.gates.decided(decision, train_only=True)
        self.pending = None  # what it changed is gone
        self.history.restart()
        return self._without_metrics(decision)

    def anneal_begins(self, reading: Reading, early: bool) -> Decision:
        """Record that the learning rate falls to zero from here on; the reading has no metrics.

        Args:
            reading: the check.
            early: whether it is because EarlyStopping has run out of patience; ``budget`` is then the new end.
        """
        subject = text.anneal_begins(early, reading.progress, reading.budget)
        proposal = Proposal(reading, Condition.HEALTHY, "EarlyStopping" if early else "budget", subject)
        return self._without_metrics(replace(hold(proposal), action=Action.ANNEAL, steps=("anneal",)))

    def handle(self, event: Event, reading: Reading, search: SearchResult | None = None) -> Decision:
        """Decide at a recorded event: the method that was called then, with what was read at the end of a search."""
        if event is Event.SEARCH and search is not None:
            return self.search_ended(reading, search)
        if event is Event.WRECKED:
            return self.run_wrecked(reading)
        if event in (Event.ANNEAL, Event.EARLY_ANNEAL):
            return self.anneal_begins(reading, early=event is Event.EARLY_ANNEAL)
        return self.check(reading, train_only=event is Event.TRAIN_CHECK)

    def _answer(self, reading: Reading, diagnosis: Diagnosis, train_only: bool) -> Proposal:
        """What the policy has for the diagnosis."""
        policy = self.settings.policy
        if isinstance(policy, EpochPolicy) and self.views is not None and not train_only:
            return by_epochs(policy, self.epoch_state, reading, self.views, diagnosis)
        may_anneal = self.end_began is None and reading.planned_end_step is not None
        return from_table(reading, diagnosis, policy, self.failed_restores, may_anneal, train_only)

    def _changed(self, decision: Decision, monitor: MetricView, undoes: bool) -> None:
        """What the next checks have to know of a change."""
        if decision.action is Action.RESTORE and not undoes:
            self.failed_restores += 1
        if decision.action is Action.ANNEAL:
            self.end_began = decision.check
        self._end_review(monitor)  # of a change before, which this one cuts short
        self.pending = PendingReview.of(decision, monitor)
        if not isinstance(self.settings.policy, EpochPolicy):
            # A policy that counts epochs is a schedule: like the user's own, it leaves the windows whole. Cut short at
            # every decay they would never be long enough to tell that the run has converged.
            self.history.restart()

    def _count_review(self, monitor: MetricView) -> None:
        self.review, self.pending = None, self.pending and self.pending.counted(monitor)
        if self.pending is not None and self.pending.is_due:
            self._end_review(monitor)

    def _end_review(self, monitor: MetricView) -> None:
        if self.pending is not None:
            review, self.pending = self.pending.review(monitor), None
            self.review = review if review.checks else None
            if review.action is Action.RAISE:
                self.gates.raise_reviewed(review.helped)

    def _without_metrics(self, decision: Decision) -> Decision:
        self.views, self.review, self.began_anew, self.is_best = MetricViews(decision.check, ()), None, "", False
        self.diagnosis = Diagnosis(decision.condition, (), decision.reason)
        return decision

    def entry(
        self,
        event: Event,
        reading: Reading,
        decision: Decision,
        adjustment: Adjustment,
        search: SearchResult | None = None,
    ) -> JournalEntry:
        """The journal entry of the last event, from what it was called with, what it gave, and what was done."""
        assert self.views is not None
        assert self.diagnosis is not None
        return JournalEntry(
            reading, self.views, self.diagnosis, decision, adjustment, event=event, search=search, review=self.review
        )

    def _is_best(self, monitor: MetricView) -> bool:
        """Whether the last reading was a new best of the first monitor: the state worth a snapshot.

        Not while a raise is to be reviewed, or a rate that the search chose is to be confirmed: the state before it
        must stay available. The check that confirms it is worth one: else a restore would bring the start back. If the
        best went by in the meantime, the next state that is better than the one kept is worth one, too.
        """
        if self.began_anew:
            return True
        pending = self.pending
        if self.search.waits or self.search.confirms:
            return self.search.confirms
        if pending is not None and pending.is_raise and pending.checks:
            return False
        kept = self.kept_value
        missed = kept is not None and monitor.best < kept and monitor.fresh and monitor.value < kept
        return self._new_best or (missed and self.views is not None and has_learned(self.views))

    @property
    def _new_best(self) -> bool:
        if self.views is None or not self.views.monitors:
            return False
        if self.diagnosis is not None and self.diagnosis.condition is Condition.NON_FINITE:
            return False  # an average of the weights may still be sound, and validate well
        first = self.views.monitors[0]
        return first.fresh and first.since_best == 0 and first.best == first.value and has_learned(self.views)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next decision depends on, as plain values."""
        return {
            "version": STATE_VERSION,
            "history": self.history.state_dict(),
            "objective": self.objective.state_dict(),
            "gates": self.gates.state_dict(),
            "epoch_state": asdict(self.epoch_state),
            "pending": self.pending.to_plain() if self.pending else None,
            "failed_restores": self.failed_restores,
            "end_began": self.end_began,
            "search": self.search.to_plain(),
            "kept_value": self.kept_value,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            StateError: if another version wrote it.
        """
        check_version(state)
        self.history.load_state_dict(state["history"])
        self.objective.load_state_dict(state["objective"])
        self.gates.load_state_dict(state["gates"])
        self.epoch_state = EpochState(**state["epoch_state"])
        self.pending = PendingReview.from_plain(state["pending"]) if state["pending"] else None
        self.failed_restores, self.end_began = state["failed_restores"], state["end_began"]
        self.search = SearchWatch.from_plain(state["search"])
        self.kept_value = state["kept_value"]


def _history(settings: Settings) -> RunHistory:
    return RunHistory(
        settings.monitors,
        settings.mode,
        settings.train_monitor,
        settings.min_delta,
        settings.policy.rel_delta,
        settings.loss_beside,
        settings.policy.min_probability,
    )


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
