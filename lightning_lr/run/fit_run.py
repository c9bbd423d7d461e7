"""One fit, from its first step to its last: everything that the callback holds while a Trainer runs.

The hooks of :class:`~lightning_lr.callbacks.controller.LearningRateController` call the methods here. The order of one
check, and of this file, is

1. read: the fresh metrics and the window of training losses, added up over the ranks;
2. ask: the engine decides on rank 0, and all ranks learn of it;
3. apply: the scale, or the snapshot;
4. write: the journal and the loggers, on rank 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_lr.engine import text
from lightning_lr.engine.decisions import foretold
from lightning_lr.engine.engine import DecisionEngine, check_version
from lightning_lr.engine.history.metric_names import is_beside
from lightning_lr.engine.history.run_history import TRAIN_LOSS
from lightning_lr.engine.journal import entry_line, header_line
from lightning_lr.engine.lr_search.guard import TRIES, StepGuard
from lightning_lr.engine.policies import EpochPolicy
from lightning_lr.engine.records import Adjustment, Decision, Reading, SearchResult
from lightning_lr.engine.schedule import early_end, open_end
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.text import review_known
from lightning_lr.engine.vocabulary import Action, Event, Mode
from lightning_lr.loggers.decision_history import DecisionHistory
from lightning_lr.loggers.decision_logger import DecisionLog
from lightning_lr.loggers.journal_file import JournalFile
from lightning_lr.optim.controlled_groups import ControlledGroups
from lightning_lr.run.check_interval import block_size, steps_between_checks
from lightning_lr.run.console import decision_line, end_line, fitted
from lightning_lr.run.defer_signals import defer_signals
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.lr_schedule import LRSchedule
from lightning_lr.run.lr_search.loss_watch import LossWatch
from lightning_lr.run.options import ControllerOptions
from lightning_lr.run.readings import reduction_format
from lightning_lr.run.readings.check_reader import CheckReader
from lightning_lr.run.trainer.state_keeper import StateKeeper
from lightning_lr.run.trainer.trainer_adapter import TrainerState, pauses_after, plain_optimizer
from lightning_lr.snapshot.snapshot import Snapshot

START = -1
"""The check number of the snapshot that is taken before the first step."""


def chosen_by_rule(monitors: Sequence[str]) -> str:
    """What is watched where the user named no monitor."""
    names = ", ".join(f"`{name}`" for name in monitors)
    return f"No `monitor` was given, and `val_loss` is not logged: monitoring {names} instead."


@dataclass
class FitRun:
    """What one fit works with.

    Attributes:
        options: of the callback.
        settings: of the engine; with the monitors that this run really has.
        groups: the learning rates.
        ranks: the other processes.
        reader: what a check reads.
        lr_schedule: how far the run is; search and curve.
        journal: the file, on rank 0.
        log: the loggers, on rank 0.
        summary: what the journal's header holds of the run.
        say: prints a sentence, on rank 0.
        warn: warns with a sentence, on rank 0.
        states: takes and restores snapshots (``None`` if nothing is ever restored).
        waits: whether a check within a validation leaves that to its end, when all its hooks are over: others may still
            exchange the weights there.
        in_validation: whether the present check is one of those.
        postponed: what was left to its end: "take" or "restore".
        reset_because: why the objective is another one from the next check on; empty if it is not.
        reset_epoch: the last epoch at which the user let it begin anew beforehand.
        validation: steps from one validation to the next.
        untrained: metric → value before the first step, for the first readings.
        loss_watch: the losses of the steps since a search.
        checked_at: the step of the last check.
        global_step: ``trainer.global_step`` after the last batch.
        checks: how many checks there were.
        history: the decisions so far.
        snapshot: the state that is restored.
        snapshot_check: the check it was taken at.
        resumed: whether it goes on from a checkpoint and has trained no batch yet.
        undo: what to call at the end of the fit, the newest first: all patches of this fit.
    """

    options: ControllerOptions
    settings: Settings
    groups: ControlledGroups
    ranks: Ranks
    reader: CheckReader
    lr_schedule: LRSchedule
    journal: JournalFile
    log: DecisionLog
    summary: Mapping[str, str]
    say: Callable[[str], None]
    warn: Callable[[str], None]
    states: StateKeeper | None = None
    waits: bool = False
    in_validation: bool = False
    postponed: str | None = None
    reset_because: str = ""
    reset_epoch: int = -1
    validation: float = 0.0
    untrained: dict[str, float] = field(default_factory=dict)
    loss_watch: LossWatch | None = None
    checked_at: int = 0
    global_step: int = 0
    checks: int = 0
    history: DecisionHistory = field(default_factory=DecisionHistory)
    snapshot: Snapshot | None = None
    snapshot_check: int | None = None
    resumed: bool = False
    undo: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.engine = DecisionEngine(self.settings)
        self.lr_schedule.budget_changed = self._set_check_interval
        self._set_check_interval()

    def _set_check_interval(self) -> None:
        every = steps_between_checks(self.options.check_every_n_steps, self.lr_schedule.budget, self.validation)
        # A policy that counts epochs has no answer to anything between two validations.
        self.train_check_every = None if isinstance(self.settings.policy, EpochPolicy) else every
        self.reader.window.block_of(block_size(self.train_check_every))

    # --- steps --------------------------------------------------------------------------------------------------------

    def rescan(self, trainer: Any) -> None:
        """Look at optimizers and schedulers anew."""
        for note in self.groups.scan(trainer.optimizers, trainer.lr_scheduler_configs):
            self.say(note)
        if self.states is not None:
            self.states.unfrozen(self.snapshot)

    def before_step(self, optimizer: Any) -> None:
        """Scale a rate that was written since; let the probes see gradients and weights of the first optimizer."""
        self.groups.before_step()
        first = self.groups.optimizers[0] if self.groups.optimizers else None
        if plain_optimizer(optimizer) is first:
            self.reader.probes.before_step()
            if self.lr_schedule.lr_search is not None:
                self.lr_schedule.lr_search.before_step()

    def before_batch(self, trainer: Any, batch: Any, batch_idx: int) -> None:
        """Set the rate of the coming step; a search takes the batch, and ends at that of the second step."""
        search = self.lr_schedule.lr_search
        if search is not None:
            search.before_batch(batch, batch_idx)
            if search.stepped:
                self._end_search(trainer)
        lr_schedule, before = self.lr_schedule, self.lr_schedule.budget
        lr_schedule.batch_begins()
        if self.resumed:
            self.resumed = False
            if lr_schedule.budget != before and lr_schedule.curve is not None:
                self.say(text.budget_moved(before, lr_schedule.budget, lr_schedule.curve.at(lr_schedule.steps)))

    def after_batch(self, trainer: Any, outputs: Any, divided: int, batch_idx: int) -> None:
        """Take the loss of a batch, without waiting for the device, and go on to the next part of the run.

        Args:
            trainer: in ``on_train_batch_end``.
            outputs: what that hook receives.
            divided: by how much Lightning divided the loss.
            batch_idx: number of the batch in its epoch.
        """
        self.groups.before_step()
        self.reader.window.append(outputs, divided)
        before, self.global_step = self.global_step, trainer.global_step
        stepped = before != self.global_step
        self.lr_schedule.steps += stepped
        if stepped:
            self.reader.probes.after_step()
        search = self.lr_schedule.lr_search
        if search is not None and stepped:
            search.after_step()
            if search.stepped and pauses_after(trainer, batch_idx):
                self._end_search(trainer)  # else a validation would come before the next batch
        elif self._is_wrecked(outputs, divided, stepped):
            self._end_part(TrainerState.of(trainer, epoch_over=False), Event.WRECKED)
        event = self.lr_schedule.after_batch(stepped)
        if event is not None:
            self._end_part(TrainerState.of(trainer, epoch_over=False), event)
        self.lr_schedule.before_batch()  # what is shown between two steps is the rate of the next one

    def _is_wrecked(self, outputs: Any, divided: int, stepped: bool) -> bool:
        """Whether the losses since the search lie far above that before training; while the start can be restored."""
        if self.loss_watch is None or self.snapshot_check != START or self.engine.search.tries >= TRIES:
            return False
        return self.loss_watch.after_batch(outputs, divided, stepped)

    def _end_search(self, trainer: Any) -> None:
        """Read the loss along the first update, and go on at the rate that this comes to."""
        search, self.lr_schedule.lr_search = self.lr_schedule.lr_search, None
        assert search is not None
        with defer_signals():  # a signal may write a checkpoint, which must not be of weights in between
            result = search.read()
            before = {name: rate.applied for name, rate in self.groups.rates().items()}
            decision = self._end_part(TrainerState.of(trainer, epoch_over=False), Event.SEARCH, result)
            search.rescale(before, {name: rate.applied for name, rate in self.groups.rates().items()})
        self.lr_schedule.searched(result.anneals, moved=decision.factor != 1.0)
        if result.readings and self.snapshot is not None:
            self.watch_losses(StepGuard.of(result).limit)

    def watch_losses(self, limit: float) -> None:
        """From here on, look whether training is wrecked.

        Args:
            limit: the loss above which a step is bad.
        """
        self.loss_watch = LossWatch(limit, self.lr_schedule.budget, self.ranks)

    def anneal_now(self, trainer_state: TrainerState) -> None:
        """Begin the end of the curve now, long before the budget is used up."""
        self.lr_schedule.end_early(early_end(self.lr_schedule.steps, self.lr_schedule.budget, self.validation))
        self._end_part(trainer_state, Event.EARLY_ANNEAL)

    def _end_part(self, trainer_state: TrainerState, event: Event, search: SearchResult | None = None) -> Decision:
        """Decide as one part of the run ends; nothing in it differs between ranks, so every rank decides by itself."""
        reading = self._bare_reading(trainer_state, untrained=dict(self.untrained))
        decision = self.engine.handle(event, reading, search)
        self._write(event, reading, decision, self._apply(event, decision, reading), trainer_state, search)
        return decision

    # --- one check ----------------------------------------------------------------------------------------------------

    @property
    def train_check_is_due(self) -> bool:
        """Whether it is time to look at the training loss, long before the next validation."""
        every, lr_schedule = self.train_check_every, self.lr_schedule
        if every is None or lr_schedule.steps - self.checked_at < every:
            return False
        if lr_schedule.lr_search is not None or lr_schedule.budget_known_at is not None:
            return False
        # What is watched must be known by then.
        return self.reader.knows_monitors

    def check(self, trainer_state: TrainerState, train_only: bool = False) -> Decision | None:
        """Read, ask, apply, write; ``None`` if no rank has anything new, or before the search has ended.

        Args:
            trainer_state: when it is.
            train_only: look at the training loss alone, and leave the rest to the next validation.
        """
        if self.lr_schedule.lr_search is not None:
            self._forget_readings()
            return None
        if not train_only:
            self._find_monitors(trainer_state)
            self._find_loss_beside(trainer_state)
            self.reader.probes.look()
        totals = self.ranks.sum(self.reader.own(train_only))
        reading = self._read(totals, trainer_state, train_only)
        if reading is None:
            if train_only:  # no step returns a loss: the next look is as many steps away
                self.checked_at = self.lr_schedule.steps
            return None
        event = Event.TRAIN_CHECK if train_only else Event.CHECK
        self.in_validation = self.waits and not (train_only or trainer_state.epoch_over)
        reading, decision = self._ask(event, reading, totals)
        self.reader.carry(reading, train_only)
        adjustment = self._apply(event, decision, reading)
        self._write(event, reading, decision, adjustment, trainer_state)
        return decision

    # --- read ---------------------------------------------------------------------------------------------------------

    def _read(self, totals: list[float], trainer_state: TrainerState, train_only: bool) -> Reading | None:
        shared = self.reader.unpack(totals, train_only)
        if not train_only:
            self.reader.fresh_metrics.take()
            missing = self.reader.lacks(shared, trainer_state)
            if missing:
                self._replace_monitors(missing)
        values = self.reader.values(shared, train_only)
        if not values["train" if train_only else "metrics"]:
            return None
        if shared.partial:
            self.say(f"{', '.join(shared.partial)} was logged on some ranks only; the mean of those is used.")
        return self._bare_reading(trainer_state, untrained=dict(self.untrained), reset=self.reset_because, **values)

    def _bare_reading(self, trainer_state: TrainerState, **values: Any) -> Reading:
        """What every reading holds, and the values given."""
        return Reading(
            check=self.checks,
            epoch=trainer_state.epoch,
            step=trainer_state.step,
            rates=self.groups.rates(),
            snapshot_check=self.snapshot_check,
            **self._how_far(),
            **values,
        )

    def _how_far(self) -> dict[str, Any]:
        """How far the run is, for a reading."""
        lr_schedule = self.lr_schedule
        may_end = lr_schedule.budget is None and lr_schedule.may_end()
        planned_end_step = open_end(lr_schedule.steps, self.validation) if may_end else None
        return {"progress": lr_schedule.progress, "budget": lr_schedule.budget, "planned_end_step": planned_end_step}

    def _find_monitors(self, trainer_state: TrainerState) -> None:
        found = self.reader.found(trainer_state.logged)
        if found:
            by_rule, self.reader.by_rule = self.reader.by_rule, False
            if tuple(found) == self.settings.monitors:
                return
            self.watch(found)
            self.reader.fresh_metrics.note(trainer_state.logged)
            if by_rule:
                self.warn(chosen_by_rule(found))
            else:
                self.say(f"{', '.join(found)} are watched; {self.settings.vote} of them must agree.")

    def _find_loss_beside(self, trainer_state: TrainerState) -> None:
        found = self.reader.found_beside(trainer_state.logged)
        if found is not None:
            self.read_beside(found, trainer_state.logged)
            names = ", ".join(name for name in self.settings.monitors if is_beside(found, name))
            self.say(f"{names} is judged together with {found}: a plateau must show in both.")

    def read_beside(self, loss: str, logged: Mapping[str, Any]) -> None:
        """From now on, this loss too; checks between two validations may have come before."""
        state = self.engine.state_dict()
        self._renew_engine(replace(self.settings, loss_beside=loss))
        self.engine.load_state_dict(state)
        self.reader.read_beside(self.settings, logged)

    def watch(self, monitors: Sequence[str]) -> None:
        """From now on, these; before the first decision."""
        self._renew_engine(replace(self.settings, monitors=tuple(monitors)))
        self.reader.watch(self.settings)

    def _replace_monitors(self, missing: Sequence[str]) -> None:
        """Watch the training loss in their place, and say why."""
        names = ", ".join(f"`{name}`" for name in missing)
        if not self.reader.validates and missing != [TRAIN_LOSS]:
            self.say(f"No validation runs that logs {names}: monitoring the training loss instead.")
        elif self.reader.by_rule:
            self.warn(
                "No `monitor` was given, and no validation loss is logged: monitoring the training loss instead. "
                "Log `val_loss` in `validation_step`, or name a logged metric."
            )
        self.watch_training_alone()

    def watch_training_alone(self) -> None:
        """From the first check on, where no monitor can come: the training loss takes the monitors' place."""
        self._renew_engine(replace(self.settings, monitors=(TRAIN_LOSS,), mode=Mode.MIN, train_monitor=None))
        self.reader.settings, self.reader.watches_training = self.settings, True  # the ranks still pack the same names

    def _renew_engine(self, settings: Settings) -> None:
        self.settings, search = settings, self.engine.search
        self.engine = DecisionEngine(self.settings)
        self.engine.search = search
        self.journal.header = header_line(settings, self.summary)

    def _forget_readings(self) -> None:
        """What was read is not of weights that stay."""
        self.reader.forget()
        self.checked_at = self.lr_schedule.steps

    # --- ask ----------------------------------------------------------------------------------------------------------

    def _ask(self, event: Event, reading: Reading, totals: list[float]) -> tuple[Reading, Decision]:
        """Rank 0 decides on its numbers; the others get both, and decide the same."""
        if self.ranks.rank == 0 or self.ranks.alone:
            self.lr_schedule.adopt_budget(self.lr_schedule.own_budget())
            reading = replace(reading, **self._how_far())
        if self.ranks.alone:
            return reading, self.engine.handle(event, reading)
        decision, codes, error = None, [reduction_format.FAILED] * reduction_format.CODES, None
        if self.ranks.rank == 0:
            try:
                decision = self.engine.handle(event, reading)
                codes = reduction_format.pack_decision(decision, self.engine.conditions)
            except Exception as raised:  # the others wait for the broadcast: it comes first
                error = raised
        agreed = self.ranks.from_rank_zero([*totals, *codes, reduction_format.pack_budget(self.lr_schedule.budget)])
        codes, budget = agreed[len(totals) : -1], reduction_format.unpack_budget(agreed[-1])
        if error is not None:
            raise error
        if codes[0] == reduction_format.FAILED:
            raise RuntimeError("Rank 0 could not decide at this check; its own error says why.")
        if decision is None:
            shared = self.reader.unpack(agreed[: len(totals)], event is Event.TRAIN_CHECK)
            self.lr_schedule.adopt_budget(budget)
            values = self.reader.values(shared, event is Event.TRAIN_CHECK)
            reading = replace(reading, **values, **self._how_far())
            alike = self.engine.handle(event, reading)
            decision = reduction_format.adopt_decision(alike, codes, self.engine.conditions)
            if decision is not alike:
                decision = replace(decision, new_lr=foretold(reading, decision.factor, self.settings))
        return reading, decision

    # --- apply --------------------------------------------------------------------------------------------------------

    def _apply(self, event: Event, decision: Decision, reading: Reading) -> Adjustment:
        self.checks += 1
        if event is Event.WRECKED:
            self._forget_readings()
        elif event in (Event.CHECK, Event.TRAIN_CHECK):  # the others hold no values, and leave them to the next check
            self.untrained = {}
            self.reader.window.restart()
            self.reset_because = ""
            self.checked_at = self.lr_schedule.steps
            if event is not Event.TRAIN_CHECK:
                self.reader.probes.restart()
        if self.engine.is_best:
            self.keep_state(event)
        if self.options.dry_run:
            acts = decision.action is not Action.HOLD
            return Adjustment(self.groups.rates(), notes=("dry run: nothing was changed",) if acts else ())
        notes = None if decision.snapshot_check is None else self._restore(event)
        if decision.factor != 1.0:
            self.groups.multiply(decision.factor)
        if decision.action is Action.ANNEAL and reading.planned_end_step is not None:
            self.lr_schedule.end_early(reading.planned_end_step)
        if self.lr_schedule.checked and self.engine.search.checked is False:
            self.lr_schedule.take_back()
        elif event is Event.WRECKED:
            self.lr_schedule.begin_anew()
        return Adjustment(self.groups.rates(), restored=notes is not None, notes=notes or ())

    def keep_state(self, event: Event | None = None) -> None:
        """Take the snapshot for a later restore."""
        self.snapshot_check = self.checks - 1 if self.checks else START
        if self.in_validation and event is Event.CHECK:
            self.postponed = "take"
        elif self.states is not None:
            self._take()

    def _take(self) -> None:
        assert self.states is not None
        former, self.snapshot = self.snapshot, None
        self.snapshot = self.states.take(former)
        if self.snapshot is None:
            self.snapshot_check = None

    def _restore(self, event: Event) -> tuple[str, ...] | None:
        """Put the snapshot back, now or when that lasts; what is left alone, or ``None`` if it cannot be."""
        if self.states is None:
            return None
        notes = self.states.fits(self.snapshot)
        if notes is None:
            self.snapshot = self.snapshot_check = None
            return None
        self.reader.probes.forget()
        if self.loss_watch is not None:
            self.loss_watch.begin()
        self.postponed = "restore"
        if not (self.in_validation and event is Event.CHECK):
            self.finish_postponed()
        return notes

    def reset(self, reason: str) -> None:
        """From here on, the objective or the data are other ones: the best state is the present one."""
        if self.postponed == "restore":
            self.finish_postponed()
        self.reset_because = reason
        self._forget_readings()
        self.snapshot_check = self.checks - 1 if self.checks else START
        self.postponed = "take"

    def finish_postponed(self) -> None:
        """Do what a check has left to a moment at which it lasts."""
        postponed, self.postponed = self.postponed, None
        if postponed is None or self.states is None:
            return
        if postponed == "take":
            self._take()
        elif self.snapshot is not None:
            self.states.restore(self.snapshot)

    # --- write --------------------------------------------------------------------------------------------------------

    def _write(
        self,
        event: Event,
        reading: Reading,
        decision: Decision,
        adjustment: Adjustment,
        trainer_state: TrainerState,
        search: SearchResult | None = None,
    ) -> None:
        entry = self.engine.entry(event, reading, decision, adjustment, search)
        if self.options.dry_run:
            entry = replace(entry, review=None)  # what was never changed has brought nothing
        if entry.review is not None:
            self.history.add_review(entry.review)
            # A decision that undoes a raise says why itself.
            if decision.action is Action.HOLD or str(entry.review) not in decision.reason:
                self.say(fitted(review_known(reading.check, str(entry.review))))
        if decision.action is not Action.HOLD:
            self.history.add(decision)
            unchecked = search is not None and not search.anneals and self.lr_schedule.anneals is None
            self.say(decision_line(decision, self.options.dry_run, unchecked))
        for note in adjustment.notes if not self.options.dry_run else ():
            self.say(note)
        if self.ranks.rank:
            return
        self.journal.write(entry_line(entry))
        self.log.write(entry, self.history, trainer_state.step)

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next decision depends on, as plain values."""
        self.journal.flush()
        return {
            "version": 1,
            "engine": self.engine.state_dict(),
            "groups": self.groups.state_dict(),
            "scale": {name: rate.scale for name, rate in self.groups.rates().items()},
            "checked_at": self.checked_at,
            "checks": self.checks,
            "history": self.history.state_dict(),
            "snapshot_check": self.snapshot_check,
            "postponed": self.postponed,
            "reset_because": self.reset_because,
            "reset_epoch": self.reset_epoch,
            "untrained": self.untrained,
            "loss_limit": self.loss_watch.limit if self.loss_watch is not None else None,
            "journal": self.journal.state_dict(),
            **self.reader.state_dict(),
            **self.lr_schedule.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where a checkpoint was written; ``setup`` opened the journal and the snapshot."""
        check_version(state)
        self.resumed = True
        if not self.reader.are_named and not state["watches_training"]:
            self.reader.by_rule &= not state["seen"]
            self.watch(state["monitors"])
        if state["watches_training"]:
            self.watch_training_alone()
        elif state["loss_beside"] is not None:
            self.read_beside(state["loss_beside"], {})
        self.engine.load_state_dict(state["engine"])
        self.reader.load_state_dict(state)
        self.lr_schedule.load_state_dict(state)
        self.untrained = dict(state["untrained"])
        if state["loss_limit"] is not None:
            self.watch_losses(state["loss_limit"])
        self.checked_at = state["checked_at"]
        self.checks = state["checks"]
        self.postponed, self.reset_because, self.reset_epoch = (
            state["postponed"],
            state["reset_because"],
            state["reset_epoch"],
        )
        self.history = DecisionHistory.from_state(state["history"])
        for note in self.groups.load_state_dict(state["groups"]):
            self.say(note)

    def say_how_it_went(self) -> None:
        """At the end of training, on the console."""
        self.say(end_line(self.history, self.engine.history.monitors[0], self.journal.path, self.options.dry_run))

    def end(self) -> None:
        """Undo what was done to the Trainer and the module; a second call does no harm."""
        self.groups.detach()
        self.reader.probes.end()
        self.undo.close()
