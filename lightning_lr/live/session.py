"""One fit, from its first step to its last: everything that the callback holds while a Trainer runs.

The hooks of :class:`~lightning_lr.live.controller.LearningRateController` each call one method here. The order of one
check is

1. read: the fresh metrics and the window of training losses, added up over the ranks;
2. ask: the core decides on rank 0, and all ranks learn of it;
3. apply: the scale, or the snapshot;
4. write: the journal and the loggers, on rank 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lightning_lr.core.annealing import Curve
from lightning_lr.core.cadence import block_size, steps_between_checks
from lightning_lr.core.controller import Controller, check_version
from lightning_lr.core.journal import entry_line, header_line
from lightning_lr.core.moves import foretold
from lightning_lr.core.records import Adjustment, Decision, JournalEntry, Reading, TrainWindow
from lightning_lr.core.series import TRAIN_LOSS
from lightning_lr.core.settings import Settings
from lightning_lr.core.vocabulary import Action, Mode
from lightning_lr.live import message
from lightning_lr.live.controlled_groups import ControlledGroups
from lightning_lr.live.decision_history import DecisionHistory
from lightning_lr.live.explorer import Explorer
from lightning_lr.live.journal_file import JournalFile
from lightning_lr.live.loss_window import LossWindow
from lightning_lr.live.observer import MetricObserver, is_pattern, matching, missing_metric
from lightning_lr.live.pace import Pace
from lightning_lr.live.probes import Probes
from lightning_lr.live.ranks import Ranks
from lightning_lr.live.snapshot import Snapshot
from lightning_lr.live.suspension import Suspension
from lightning_lr.live.tensorboard import DecisionLog

CURVE = "curve"
"""The scale of the curve over the budget stands beside that of the decisions."""

START = -1
"""The check number of the snapshot that is taken before the first step."""


@dataclass(frozen=True)
class Moment:
    """When a check happens, in the Trainer's own counts.

    Attributes:
        epoch: epoch that the values belong to, from 0.
        step: position on the loggers' x-axis that the metrics of this check have.
        logged: ``trainer.callback_metrics``.
        validates: whether a validation runs in this fit that may log something.
        coming: metrics that are logged, and have their value at the end of the epoch.
    """

    epoch: int
    step: int
    logged: Mapping[str, Any]
    validates: bool
    coming: Collection[str] = ()


@dataclass
class Session:
    """What one fit works with.

    Attributes:
        settings: of the core; with the monitors that this run really has.
        core: the decisions.
        groups: the learning rates.
        ranks: the other processes.
        journal: the file, on rank 0.
        log: the loggers, on rank 0.
        facts: what the journal's header tells of the run.
        say: prints a sentence once, on rank 0.
        take_snapshot: copies the present state (``None`` where nothing is ever restored).
        restore_snapshot: puts it back, and says what it could not.
        dry_run: decide and record, apply nothing.
        train_only: whether no monitor can come, and the training loss takes its place.
        steps: how many optimizer steps there were; Lightning's own count lags behind while a batch ends.
        budget: how many there will be in the whole run, as the ranks agreed; ``None`` where that is unknown.
        limits: steps so far → budget by the Trainer's limits in epochs and steps.
        pace: how many steps a time limit is good for, where there is one.
        opens: begins exploration and curve once that is known for the first time; called with the budget.
        opens_at: the step after which it is known.
        check_every: steps between two checks where validations are rare: the user's, 0 for none, ``None`` to choose.
        validation: steps from one validation to the next.
        validates: whether a validation will log the monitors; else it is known after an epoch what takes their place.
        checked_at: the step of the last check.
        carried: training loss × steps, and steps, of the checks since the last one that had metrics.
        checks: how many checks there were.
        validated: whether a validation has ended in this fit.
        window: the training losses since the last check.
        history: the decisions so far.
        snapshot: the state that a restore brings back.
        snapshot_check: the check it was taken at.
        explorer: the exploration that is under way.
        suspension: the callbacks that wait for its end.
        curve: the learning rate over the budget, as a multiple of what the decisions ask for.
        annealing: whether the end of that curve has begun.
        probes: what looks inside the network.
        undo: what to call at the end of the fit, newest last.
    """

    settings: Settings
    core: Controller
    groups: ControlledGroups
    ranks: Ranks
    journal: JournalFile
    log: DecisionLog
    facts: Mapping[str, str]
    say: Callable[[str], None]
    take_snapshot: Callable[[Snapshot | None], Snapshot] | None = None
    restore_snapshot: Callable[[Snapshot], tuple[str, ...]] | None = None
    dry_run: bool = False
    train_only: bool = False
    steps: int = 0
    budget: int | None = None
    limits: Callable[[int], int | None] = lambda steps: None
    pace: Pace | None = None
    opens: Callable[[int | None], None] | None = None
    opens_at: int = 0
    check_every: int | None = 0
    validation: float = 0.0
    validates: bool = True
    checked_at: int = 0
    carried: tuple[float, int] = (0.0, 0)
    checks: int = 0
    validated: bool = False
    window: LossWindow = field(default_factory=LossWindow)
    history: DecisionHistory = field(default_factory=DecisionHistory)
    snapshot: Snapshot | None = None
    snapshot_check: int | None = None
    explorer: Explorer | None = None
    suspension: Suspension | None = None
    curve: Curve | None = None
    annealing: bool = False
    probes: Probes = field(default_factory=Probes)
    undo: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        train = self.settings.train_monitor
        monitors = self.settings.monitors
        self.names = (*monitors, train) if train and train not in monitors else monitors
        self.observer = MetricObserver(self.names)
        self.seen: set[str] = set()
        self._pace_checks()

    @property
    def check_is_due(self) -> bool:
        """Whether it is time to look at the training loss, long before the next validation."""
        # What is watched must be known by then: the journal's header tells of it.
        named = self.validates and not any(map(is_pattern, self.settings.monitors))
        free = self.explorer is None and self.opens is None and (named or self.train_only or bool(self.seen))
        return self._every is not None and free and self.steps - self.checked_at >= self._every

    def _pace_checks(self) -> None:
        every = steps_between_checks(self.check_every, self.budget, self.validation)
        self._every = None if self.core.recipe else every  # a recipe has no answer to anything between
        self.window.block_of(block_size(self._every))

    def check(self, moment: Moment, between: bool = False) -> Decision | None:
        """Read, ask, apply, write; ``None`` where no rank has anything new, or while the run explores.

        Args:
            moment: when it is.
            between: look at the training loss alone, and leave to the next validation whatever else was read.
        """
        if self.explorer is not None or (self.opens is not None and self.suspension is not None):
            self._forget_readings()
            return None
        if not between:
            self._find_monitors(moment)
            self.probes.look()
        # Every rank packs the same names in the same order, whether it has them or not.
        totals = self.ranks.sum(self._own_readings(between))
        shared = self._unpack(totals, between)
        if not between:
            self.observer.take()
            self._require_monitors(shared, moment)
        reading = self._reading(shared, moment, between)
        if reading is None:
            return None
        reading, decision = self._ask(reading, totals)
        self._carry(reading)
        adjustment = self._apply(decision, between)
        self._write(reading, decision, adjustment, moment)
        return decision

    def before_batch(self) -> None:
        """Set the rate of the coming step, where it changes from step to step."""
        if self.explorer is not None:
            self.explorer.before_batch()
        elif self.curve is not None:
            self.groups.set_part(CURVE, self.curve.at(self.steps))

    def before_step(self, optimizer: Any) -> None:
        """Let the probes see gradients and weights, of the first optimizer, and not while the run explores."""
        first = self.groups.optimizers[0] if self.groups.optimizers else None
        if self.explorer is None and getattr(optimizer, "_optimizer", optimizer) is first:
            self.probes.before_step()

    def after_batch(self, outputs: Any, divided: int, moment: Callable[[], Moment], stepped: bool) -> None:
        """Take the loss of a batch; go on to the next part of the run where one has ended.

        Args:
            outputs: what ``on_train_batch_end`` receives.
            divided: by how much Lightning divided the loss.
            moment: makes the moment, should it be needed.
            stepped: whether the optimizer stepped after this batch.
        """
        self.window.append(outputs, divided)
        self.steps += stepped
        if stepped:
            self.probes.after_step()
        if self.pace is not None and stepped and self.explorer is None:
            self.pace.stepped()
        if self.opens is not None:
            if self.steps >= self.opens_at:
                self.agree_on_budget()
                opens, self.opens = self.opens, None
                opens(self.budget)
        elif self.explorer is not None:
            if self.explorer.after_batch(outputs, divided, stepped):
                self._end_exploration(moment())
        elif self.curve is not None and not self.annealing and self.steps >= self.curve.anneals_from:
            self.annealing = True
            now = moment()
            self._decide_without_metrics(self._bare_reading(now, anneals=True), now)

    def _end_exploration(self, moment: Moment) -> None:
        assert self.explorer is not None
        self.explorer.end()
        if self.pace is not None:
            self.pace.skipped()
            self.agree_on_budget()
        trial, self.explorer = self.explorer.trial(), None
        self._decide_without_metrics(self._bare_reading(moment, trial=trial), moment)
        self._forget_readings()
        if self.suspension is not None:
            self.suspension.end()
        if self.curve is not None:
            self.curve = replace(self.curve, first=self.steps)

    def _decide_without_metrics(self, reading: Reading, moment: Moment) -> None:
        # Nothing in it differs between ranks, so every rank decides by itself.
        decision = self.core.step(reading)
        self._write(reading, decision, self._apply(decision), moment)

    def _forget_readings(self) -> None:
        """What was read while the run explored says nothing of the run."""
        self.observer.take()
        self.restart_window()
        self.checked_at = self.steps
        self.probes.forget()

    def restart_window(self) -> None:
        """Forget the training losses since the last validation."""
        self.window.restart()
        self.carried = (0.0, 0)

    # --- budget -------------------------------------------------------------------------------------------------------

    def pauses(self) -> None:
        """A validation, or the end of an epoch, comes before the next step: its time is not that of a step."""
        if self.pace is not None:
            self.pace.pauses()

    @property
    def progress(self) -> float | None:
        """Share of the budget that is used up."""
        return None if self.budget is None else self.steps / self.budget

    def _own_budget(self) -> int | None:
        """The budget as this rank sees it; only rank 0's opinion counts."""
        limit = self.limits(self.steps)
        if self.pace is None:
            return limit
        timed = self.pace.budget(self.steps)
        return self.budget if timed is None else min(timed, limit or timed)

    def agree_on_budget(self) -> None:
        """Rank 0's budget, on all ranks: a broadcast of its own, where no check is due."""
        (agreed,) = self.ranks.from_rank_zero([message.pack_budget(self._own_budget())])
        self._adopt_budget(message.unpack_budget(agreed))

    def _adopt_budget(self, budget: int | None) -> None:
        if budget is not None and budget != self.budget:
            self.budget = budget
            self._pace_checks()
            if self.curve is not None:
                self.curve = self.curve.moved_to(budget, self.steps)

    def keep_state(self) -> None:
        """Take the snapshot that a later restore brings back."""
        self.snapshot_check = self.checks - 1 if self.checks else START
        if self.take_snapshot is not None:
            self.snapshot = self.take_snapshot(self.snapshot)

    def restore_start(self) -> None:
        """Bring the state back from which the run explores."""
        if self.snapshot is not None and self.restore_snapshot is not None:
            self.restore_snapshot(self.snapshot)

    # --- read ---------------------------------------------------------------------------------------------------------

    def _own_readings(self, between: bool = False) -> list[float]:
        if between:
            return message.pack_readings(self.names, {}, self.window.totals())
        self.observer.settle(self.window.fold)  # monitors and losses with one synchronization
        read = message.pack_readings(self.names, self.observer.state_dict(), self.window.totals())
        return [*read, *self.probes.totals()]

    def _unpack(self, totals: list[float], between: bool) -> message.Shared:
        world = 1 if self.ranks.alone else self.ranks.world_size
        read, probed = message.split_probes(self.names, totals)
        shared = message.unpack_readings(self.names, self.settings.train_monitor, read, world)
        return shared if between else replace(shared, probes=self.probes.readings(probed))

    def _require_monitors(self, shared: message.Shared, moment: Moment) -> None:
        """Where a monitor should have come by now and no rank has it: an error, on all ranks alike.

        Without validation there is nothing to wait for, and the training loss takes the monitors' place.
        """
        self.seen.update(shared.metrics)
        missing = [name for name in self.settings.monitors if name not in self.seen and name not in moment.coming]
        if self.train_only or not missing:
            return
        if not self.seen and not moment.validates:
            self.watch_training_alone()
        elif self.validated or not moment.validates:
            raise missing_metric(missing, moment.logged)

    def _find_monitors(self, moment: Moment) -> None:
        """Which metrics a pattern means: those that any rank has logged at the first check at which one has."""
        if not any(is_pattern(name) for name in self.settings.monitors) or self.train_only:
            return
        own = "\n".join(matching(self.settings.monitors, moment.logged))
        logged = {name for part in self.ranks.gather_bytes(own.encode()) for name in part.decode().splitlines()}
        found = matching(self.settings.monitors, logged)
        if found:
            self.watch(found)
            self.observer.look(moment.logged)
            self.say(f"{', '.join(self.settings.monitors)} are watched; {self.settings.vote} of them must agree.")

    def watch(self, monitors: Sequence[str]) -> None:
        """From now on, these; before the first decision."""
        self.settings = replace(self.settings, monitors=tuple(monitors))
        self.core = Controller(self.settings)
        self.__post_init__()
        self.journal.header = header_line(self.settings, self.facts)

    def watch_training_alone(self) -> None:
        """From the first check on, where no monitor can come."""
        names = ", ".join(self.settings.monitors)
        self.settings = replace(self.settings, monitors=(TRAIN_LOSS,), mode=Mode.MIN, train_monitor=None)
        self.core = Controller(self.settings)
        self.train_only = True
        self.journal.header = header_line(self.settings, self.facts)
        self.say(f"No validation logs {names}, nor does training: decisions rest on the training loss alone.")

    def _reading(self, shared: message.Shared, moment: Moment, between: bool) -> Reading | None:
        values = self._values(shared, between)
        if not values["train" if between else "metrics"]:
            return None
        if shared.partial:
            self.say(f"{', '.join(shared.partial)} was logged on some ranks only; the mean of those is used.")
        return self._bare_reading(moment, **values)

    def _values(self, shared: message.Shared, between: bool) -> dict[str, Any]:
        """What a reading takes from the ranks together."""
        if between:
            return {"train": shared.window, "between": True}
        loss = self._train_loss(shared.window)
        return {
            "metrics": self._metrics(shared, loss),
            "train": shared.window,
            "train_metric": shared.train_metric,
            "train_loss": loss,
            "probes": shared.probes,
        }

    def _train_loss(self, window: TrainWindow | None) -> float | None:
        """Over all steps since the last validation; ``None`` where no check in between has taken any away."""
        total, steps = self.carried
        if not steps:
            return None
        if window is not None and window.mean == window.mean:
            total, steps = total + window.mean * window.steps, steps + window.steps
        return total / steps

    def _carry(self, reading: Reading) -> None:
        if not reading.between:
            self.carried = (0.0, 0)
        elif reading.train is not None and reading.train.mean == reading.train.mean:
            total, steps = self.carried
            self.carried = (total + reading.train.mean * reading.train.steps, steps + reading.train.steps)

    def _bare_reading(self, moment: Moment, **values: Any) -> Reading:
        """What every reading holds, and the values given."""
        return Reading(
            check=self.checks,
            epoch=moment.epoch,
            step=moment.step,
            rates=self.groups.rates(),
            snapshot_check=self.snapshot_check,
            progress=self.progress,
            budget=self.budget,
            **values,
        )

    def _metrics(self, shared: message.Shared, loss: float | None) -> dict[str, float]:
        if not self.train_only:
            return {name: value for name, value in shared.metrics.items() if name in self.settings.monitors}
        if shared.window is None:
            return {} if loss is None else {TRAIN_LOSS: loss}
        return {TRAIN_LOSS: shared.window.mean if loss is None else loss}

    # --- ask ----------------------------------------------------------------------------------------------------------

    def _ask(self, reading: Reading, totals: list[float]) -> tuple[Reading, Decision]:
        """Rank 0 decides on its numbers; the others get both, and decide the same."""
        if self.ranks.rank == 0 or self.ranks.alone:
            self._adopt_budget(self._own_budget())
            reading = replace(reading, progress=self.progress, budget=self.budget)
        if self.ranks.alone:
            return reading, self.core.step(reading)
        decision, codes, error = None, [message.FAILED] * message.CODES, None
        if self.ranks.rank == 0:
            try:
                decision = self.core.step(reading)
                codes = message.pack_decision(decision)
            except Exception as raised:  # the others wait for the broadcast: tell them first, then raise
                error = raised
        agreed = self.ranks.from_rank_zero([*totals, *codes, message.pack_budget(self.budget)])
        codes, budget = agreed[len(totals) : -1], message.unpack_budget(agreed[-1])
        if error is not None:
            raise error
        if codes[0] == message.FAILED:
            raise RuntimeError("Rank 0 could not decide at this check; its own error says why.")
        if decision is None:
            shared = self._unpack(agreed[: len(totals)], reading.between)
            self._adopt_budget(budget)
            reading = replace(
                reading,
                **self._values(shared, reading.between),
                progress=self.progress,
                budget=self.budget,
            )
            alike = self.core.step(reading)
            decision = message.adopt_decision(alike, codes)
            if decision is not alike:
                decision = replace(decision, new_lr=foretold(reading, decision.factor, self.settings))
        return reading, decision

    # --- apply --------------------------------------------------------------------------------------------------------

    def _apply(self, decision: Decision, between: bool = False) -> Adjustment:
        self.checks += 1
        if decision.action is not Action.ANNEAL:  # that one looks at no reading, and leaves them to the next check
            self.window.restart()
            self.checked_at = self.steps
            if not between:
                self.probes.restart()
        if self.core.is_best:
            self.keep_state()
        if self.dry_run:
            acts = decision.action is not Action.HOLD
            return Adjustment(self.groups.rates(), notes=("dry run: nothing was changed",) if acts else ())
        notes: tuple[str, ...] = ()
        restores = decision.snapshot_check is not None and self.snapshot is not None
        if restores and self.snapshot is not None and self.restore_snapshot is not None:
            notes = self.restore_snapshot(self.snapshot)
            self.probes.forget()
        if decision.factor != 1.0:
            self.groups.multiply(decision.factor)
        return Adjustment(self.groups.rates(), restored=restores, notes=notes)

    # --- write --------------------------------------------------------------------------------------------------------

    def _write(self, reading: Reading, decision: Decision, adjustment: Adjustment, moment: Moment) -> None:
        if decision.action is not Action.HOLD:
            self.history.add(decision)
            self.say(str(decision) + (" (dry run)" if self.dry_run else ""))
        for note in adjustment.notes if not self.dry_run else ():
            self.say(note)
        if self.ranks.rank or self.core.signals is None or self.core.diagnosis is None:
            return
        entry = JournalEntry(reading, self.core.signals, self.core.diagnosis, decision, adjustment)
        self.journal.write(entry_line(entry))
        self.log.write(entry, self.history, moment.step)

    # --- state --------------------------------------------------------------------------------------------------------

    def rescan(self, trainer: Any) -> None:
        """Look at optimizers and schedulers anew."""
        for note in self.groups.scan(trainer.optimizers, trainer.lr_scheduler_configs):
            self.say(note)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next decision depends on, as plain values."""
        return {
            "version": 1,
            "core": self.core.state_dict(),
            "groups": self.groups.state_dict(),
            "scale": {name: rate.scale for name, rate in self.groups.rates().items()},
            "window": self.window.state_dict(),
            "pending": self.observer.state_dict(),
            "seen": sorted(self.seen),
            "validated": self.validated,
            "steps": self.steps,
            "budget": self.budget,
            "pace": self.pace.state_dict() if self.pace else None,
            "opening": self.opens is not None,
            "checked_at": self.checked_at,
            "carried": list(self.carried),
            "checks": self.checks,
            "train_only": self.train_only,
            "history": self.history.state_dict(),
            "snapshot_check": self.snapshot_check,
            "journal": self.journal.state_dict(),
            "exploring": self.explorer.state_dict() if self.explorer else None,
            "curve": asdict(self.curve) if self.curve else None,
            "annealing": self.annealing,
            "probes": self.probes.totals(),
            "monitors": list(self.settings.monitors),
        }

    def readings_of_ranks(self) -> list[list[float]]:
        """What each rank has read since the last check: a checkpoint holds the callback's state of rank 0 alone."""
        return [] if self.ranks.alone else self.ranks.gather(self._own_readings())

    def load_readings(self, readings: Sequence[Sequence[float]]) -> None:
        """Take this rank's own readings back; where there were other ranks than now, rank 0 keeps what it had."""
        if len(readings) == self.ranks.world_size:
            read, probed = message.split_probes(self.names, readings[self.ranks.rank])
            fresh, totals = message.own_readings(self.names, read)
            self.observer.load_state_dict(fresh)
            self.window.load_totals(totals)
            self.probes.load_totals(probed)
        elif self.ranks.rank:
            self.observer.load_state_dict({})
            self.window.restart()
            self.probes.forget()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where a checkpoint was written; whoever made this session opened the journal and the snapshot."""
        check_version(state)
        if any(is_pattern(name) for name in self.settings.monitors) and "monitors" in state:
            self.watch(state["monitors"])
        if state["train_only"]:
            self.watch_training_alone()
        self.core.load_state_dict(state["core"])
        self.window.load_state_dict(state["window"])
        self.probes.load_totals(state.get("probes", ()))
        self.observer.load_state_dict(state["pending"])
        self.seen = set(state["seen"])
        self.validated = state["validated"]
        self.steps = state["steps"]
        self.budget = state.get("budget")
        self.checked_at = state.get("checked_at", self.steps)
        self.carried = tuple(state.get("carried", (0.0, 0)))
        self.checks = state["checks"]
        self.history = DecisionHistory.from_state(state["history"])
        self.curve = Curve(**state["curve"]) if state["curve"] else None
        self.annealing = state["annealing"]
        for note in self.groups.load_state_dict(state["groups"]):
            self.say(note)

    def end(self) -> None:
        """Undo whatever was done to the Trainer and the module; calling it twice does no harm."""
        if self.suspension is not None:
            self.suspension.end()
        self.groups.detach()
        self.probes.end()
        while self.undo:
            self.undo.pop()()
