"""What a check reads: the fresh metrics, the training losses since the last one, and the sums of the probes.

Every rank packs its own as numbers that can be added up; the sums are unpacked into the values of one reading.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_lr.engine.history.metric_names import (
    DATA,
    TRAINING,
    VALIDATION,
    is_discrete,
    loss_beside,
    validation_losses,
    words,
)
from lightning_lr.engine.history.run_history import TRAIN_LOSS
from lightning_lr.engine.records import Reading, TrainWindow
from lightning_lr.engine.settings import Settings
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.readings import reduction_format
from lightning_lr.run.readings.fresh_metrics import FreshMetrics, is_pattern, matching, missing_metric
from lightning_lr.run.readings.loss_window import LossWindow
from lightning_lr.run.readings.probes import Probes
from lightning_lr.run.trainer.trainer_adapter import TrainerState


@dataclass
class CheckReader:
    """The readings of one fit.

    Attributes:
        settings: which metrics are watched.
        ranks: the other processes.
        by_rule: whether the user named no monitor: what is logged decides, in the sanity check or at the first check.
        held_out: what the sanity check logged, on any rank.
        validates: whether a validation will log something in this fit.
        waits_for_epoch: whether a monitor may be logged as late as the end of an epoch.
        probes: what looks inside the network.
        watches_training: whether no monitor can come, and the training loss takes its place.
        window: the training losses since the last check.
        carried: training loss × steps, and steps, of the checks since the last one that had metrics.
        validated: whether a validation has ended in this fit.
        logs_in_validation: whether a validation of this fit has logged one of the monitors.
        seen: monitors that any rank has had a value of.
        fresh_metrics: the metrics since the last check.
        looked_beside: whether it is settled which loss is read beside monitors that are none.
        names: the monitors, the loss beside them, and the training side of the gap where it is logged too.
    """

    settings: Settings
    ranks: Ranks
    by_rule: bool = False
    held_out: Sequence[str] = ()
    validates: bool = True
    waits_for_epoch: bool = False
    probes: Probes = field(default_factory=Probes)
    watches_training: bool = False
    window: LossWindow = field(default_factory=LossWindow)
    carried: tuple[float, int] = (0.0, 0)
    validated: bool = False
    logs_in_validation: bool = False
    seen: set[str] = field(default_factory=set)
    looked_beside: bool = False

    def __post_init__(self) -> None:
        self.watch(self.settings)

    def watch(self, settings: Settings) -> None:
        """From now on, the monitors of these."""
        self.settings = settings
        others = (settings.loss_beside, settings.train_monitor)
        self.names = tuple(dict.fromkeys((*settings.monitors, *filter(None, others))))
        self.looked_beside = settings.loss_beside is not None or not any(map(is_discrete, settings.monitors))
        self.fresh_metrics = FreshMetrics(self.names)

    @property
    def knows_monitors(self) -> bool:
        """Whether it is settled what is watched: the journal's header says so, before its first line."""
        return self.watches_training or bool(self.seen) or (self.validates and (self.are_named or self._shown))

    @property
    def are_named(self) -> bool:
        """Whether the monitors are the names of metrics, neither patterns nor left to the rule."""
        return not self.by_rule and not any(map(is_pattern, self.settings.monitors))

    def found(self, logged: Mapping[str, Any]) -> list[str]:
        """Which metrics a pattern means, or the rule: those that any rank has logged at the first check with one."""
        if self.watches_training or self.are_named or self._shown:
            return []
        return list(self._choice(self.ranks.union(self._choice(logged))))

    def _choice(self, logged: Collection[str]) -> Sequence[str]:
        return validation_losses(logged, self.held_out) if self.by_rule else matching(self.settings.monitors, logged)

    @property
    def _shown(self) -> bool:
        """Whether the sanity check has logged what the rule chooses."""
        return self.by_rule and validation_losses(self.held_out, self.held_out) == self.settings.monitors

    def refuse_missing(self) -> None:
        """Compare the monitors with what the sanity check logged, before the first step.

        Only a name with a word for held-out data is known to be missing: others may be logged in training.

        Raises:
            MissingMetricError: if one that was named is not among them.
        """
        if not self.held_out or not self.are_named or self.waits_for_epoch or not self.validates:
            return
        unknown = [name for name in self.settings.monitors if name not in self.held_out]
        missing = [name for name in unknown if VALIDATION & {*words(name)} and not TRAINING & {*words(name)}]
        if missing:
            raise missing_metric(missing, self.held_out)

    def after_validation(self, logged: Mapping[str, Any]) -> None:
        """Take note of what a validation has logged."""
        self.fresh_metrics.note(logged)
        self.validated = True
        self.logs_in_validation |= self.fresh_metrics.any_fresh(self.settings.monitors)

    def comes_at_epoch_end(self, logged: Mapping[str, Any]) -> bool:
        """Whether the monitors are logged by the module at the end of an epoch, where checks follow validations."""
        return self.waits_for_epoch and not self.logs_in_validation and bool({*self.settings.monitors} & {*logged})

    def found_beside(self, logged: Mapping[str, Any]) -> str | None:
        """The loss that is read beside monitors that are none; looked for at the first check that has a monitor."""
        if self.watches_training or self.looked_beside:
            return None
        named = self.ranks.union(logged)
        self.looked_beside = bool(named & set(self.settings.monitors))
        return loss_beside(self.settings.monitors, named) if self.looked_beside else None

    def read_beside(self, settings: Settings, logged: Mapping[str, Any]) -> None:
        """From now on, the loss beside the monitors too."""
        self.settings = settings
        if settings.loss_beside is not None and settings.loss_beside not in self.names:
            self.names = (*self.names, settings.loss_beside)
            self.fresh_metrics.add(settings.loss_beside)
            self.fresh_metrics.note(logged)

    # --- one check ----------------------------------------------------------------------------------------------------

    def own(self, train_only: bool = False) -> list[float]:
        """This rank's part. Every rank packs the same names in the same order, whether it has them or not.

        Args:
            train_only: the training loss alone.
        """
        if train_only:
            return reduction_format.pack_readings(self.names, {}, self.window.totals())
        self.fresh_metrics.settle(self.window.fold)  # monitors and losses with one synchronization
        read = reduction_format.pack_readings(self.names, self.fresh_metrics.state_dict(), self.window.totals())
        return [*read, *self.probes.totals()]

    def unpack(self, totals: list[float], train_only: bool) -> reduction_format.Shared:
        """The parts of all ranks, from their sums."""
        world = 1 if self.ranks.alone else self.ranks.world_size
        read, probed = reduction_format.split_probes(self.names, totals)
        shared = reduction_format.unpack_readings(self.names, self.settings.train_monitor, read, world)
        return shared if train_only else replace(shared, probes=self.probes.readings(probed))

    def lacks(self, shared: reduction_format.Shared, trainer_state: TrainerState) -> list[str]:
        """The monitors that should have come by now and that no rank has: the same on all ranks.

        The training loss can take the place of these.

        Raises:
            MissingMetricError: if it cannot: the user named a metric that is not logged.
        """
        self.seen.update(shared.metrics)
        missing = [
            name for name in self.settings.monitors if name not in self.seen and name not in trainer_state.coming
        ]
        if self.watches_training or not missing:
            return []
        if self.validates and (not self.validated or (self.waits_for_epoch and not trainer_state.epoch_over)):
            return []  # they may still come
        replaced = self.by_rule or missing == [TRAIN_LOSS]
        # What only a validation would have logged is not wrong because none runs.
        if not replaced and not self.validates:
            replaced = all(name in self.held_out or DATA & {*words(name)} - TRAINING for name in missing)
        if self.seen or not replaced:
            raise missing_metric(missing, trainer_state.logged)
        return missing

    def values(self, shared: reduction_format.Shared, train_only: bool) -> dict[str, Any]:
        """What a reading takes from the ranks together."""
        if train_only:
            return {"train": shared.window}
        loss = self._train_loss(shared.window)
        return {
            "metrics": self._metrics(shared, loss),
            "train": shared.window,
            "train_metric": shared.train_metric,
            "train_loss": loss,
            "probes": shared.probes,
        }

    def carry(self, reading: Reading, train_only: bool) -> None:
        """Keep what a check in between took out of the window, for the next that has metrics."""
        if not train_only:
            self.carried = (0.0, 0)
        elif reading.train is not None and reading.train.mean == reading.train.mean:
            total, steps = self.carried
            self.carried = (total + reading.train.mean * reading.train.steps, steps + reading.train.steps)

    def restart(self) -> None:
        """Forget the training losses since the last validation."""
        self.window.restart()
        self.carried = (0.0, 0)

    def forget(self) -> None:
        """What was read is not of this run, or of weights that are gone."""
        self.fresh_metrics.take()
        self.restart()
        self.probes.forget()

    def _train_loss(self, window: TrainWindow | None) -> float | None:
        """Over all steps since the last validation; ``None`` where no check in between has taken any away."""
        total, steps = self.carried
        if not steps:
            return None
        if window is not None and window.mean == window.mean:
            total, steps = total + window.mean * window.steps, steps + window.steps
        return total / steps

    def _metrics(self, shared: reduction_format.Shared, loss: float | None) -> dict[str, float]:
        if not self.watches_training:
            read = self.settings.monitors
            if not shared.metrics.keys().isdisjoint(read):  # else the loss beside them alone makes no check
                read = (*read, *filter(None, [self.settings.loss_beside]))
            return {name: value for name, value in shared.metrics.items() if name in read}
        if shared.window is None:
            return {} if loss is None else {TRAIN_LOSS: loss}
        return {TRAIN_LOSS: shared.window.mean if loss is None else loss}

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What rank 0 has read since the last check, as plain values."""
        return {
            "window": self.window.state_dict(),
            "pending": self.fresh_metrics.state_dict(),
            "seen": sorted(self.seen),
            "held_out": list(self.held_out),
            "validated": self.validated,
            "carried": list(self.carried),
            "watches_training": self.watches_training,
            "probes": self.probes.totals(),
            "monitors": list(self.settings.monitors),
            "loss_beside": self.settings.loss_beside,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`, once the monitors are those of then."""
        self.window.load_state_dict(state["window"])
        self.fresh_metrics.load_state_dict(state["pending"])
        self.seen = set(state["seen"])
        self.held_out = state["held_out"]
        self.validated = state["validated"]
        self.carried = tuple(state["carried"])
        self.probes.load_totals(state["probes"])

    def of_ranks(self) -> list[list[float]]:
        """What each rank has read since the last check: a checkpoint holds the callback's state of rank 0 alone."""
        return [] if self.ranks.alone else self.ranks.gather(self.own())

    def load_of_ranks(self, readings: Sequence[Sequence[float]]) -> None:
        """Take this rank's own readings back; where there were other ranks than now, rank 0 keeps what it had."""
        if len(readings) == self.ranks.world_size:
            read, probed = reduction_format.split_probes(self.names, list(readings[self.ranks.rank]))
            fresh, totals = reduction_format.own_readings(self.names, read)
            self.fresh_metrics.load_state_dict(fresh)
            self.window.load_totals(totals)
            self.probes.load_totals(probed)
        elif self.ranks.rank:
            self.fresh_metrics.load_state_dict({})
            self.window.restart()
            self.probes.forget()
