"""All the series of a run, followed side by side: Reading → MetricViews."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

from lightning_lr.engine.history.metric_history import MetricHistory
from lightning_lr.engine.history.metric_names import bare_name, is_beside, is_loss
from lightning_lr.engine.records import MIN_PROBABILITY, MetricView, MetricViews, Reading, TrainWindow
from lightning_lr.engine.vocabulary import Mode

TRAIN_LOSS = "train_loss"
"""Name of the loss that ``training_step`` returns, where no ``train_monitor`` is named."""


class RunHistory:
    """Follows the monitors, the training series, the gap of each monitor to it, and the blocks of the training loss.

    Args:
        monitors: metric names; the first is the one whose best state is kept.
        mode: direction in which they are better.
        train_monitor: logged metric that stands for training; ``None`` for the loss of ``training_step``.
        min_delta: least absolute change that counts as improvement.
        rel_delta: least change relative to |best| that counts as improvement.
        loss_beside: held-out loss that is logged beside monitors that are no losses.
        min_probability: from which on a condition that is stated with a probability is named.
    """

    def __init__(
        self,
        monitors: Sequence[str],
        mode: Mode = Mode.MIN,
        train_monitor: str | None = None,
        min_delta: float = 0.0,
        rel_delta: float = 0.0,
        loss_beside: str | None = None,
        min_probability: float = MIN_PROBABILITY,
    ) -> None:
        sign = -1 if mode is Mode.MAX else 1
        train_name = train_monitor or TRAIN_LOSS
        self.train_monitor = train_monitor
        self.min_probability = min_probability
        self.monitors = [MetricHistory(name, sign, min_delta, rel_delta) for name in monitors]
        self.beside = None if loss_beside is None else MetricHistory(loss_beside)
        self.judged_beside = [name for name in monitors if loss_beside and is_beside(loss_beside, name)]
        self.train = MetricHistory(train_name, sign if train_monitor else 1)
        self.levels = MetricHistory(TRAIN_LOSS, ages=False)
        self.blocks = MetricHistory(TRAIN_LOSS, ages=False)
        self.validations = [False, False]
        # No gap of the training loss to itself, and none between a loss and an accuracy, nor between a value that
        # is maximized and a loss that is minimized, whatever their names.
        self.gaps = {
            name: MetricHistory(f"gap of {name}", ages=False)
            for name in monitors
            if name != train_name and self.train.sign == sign and same_quantity(name, train_name, mode)
        }
        self.probes: dict[str, MetricHistory] = {}

    def update(self, reading: Reading, train_only: bool = False) -> MetricViews:
        """Take one reading into every series that it speaks of.

        Args:
            reading: the check.
            train_only: whether it is one between two validations, which knows the training loss alone.
        """
        check, window = reading.check, reading.train
        if reading.untrained:
            for metric in (*self.monitors, self.train, self.levels, *([self.beside] if self.beside else [])):
                metric.start_at(reading.untrained.get(metric.name, math.nan))
        if window is not None and not window.is_level:
            window = None
        self.validations = [self.validations[1], not train_only]
        train = self.train.update(self._train_value(reading, window, train_only), check)
        monitors = tuple(metric.update(reading.metrics.get(metric.name), check) for metric in self.monitors)
        beside = {}
        if self.beside is not None:
            view = self.beside.update(reading.metrics.get(self.beside.name), check)
            beside = dict.fromkeys(self.judged_beside, view)
        return MetricViews(
            check=check,
            monitors=monitors,
            train=train if train.values or train.fresh else None,
            gaps={
                s.name: self.gaps[s.name].update(gap_between(s, train), check) for s in monitors if s.name in self.gaps
            },
            blocks=self.blocks.extend(window.blocks, check) if window else None,
            window=window,
            probes=self._probed(reading),
            levels=self.levels.update(window.mean, check) if window else None,
            beside=beside,
            validated=sum(self.validations),
            min_probability=self.min_probability,
        )

    def _train_value(self, reading: Reading, window: TrainWindow | None, train_only: bool) -> float | None:
        """What stands beside the monitors: of all steps since they were last read, however often was looked between."""
        if train_only or self.train_monitor:
            return None if train_only else reading.train_metric
        if reading.train_loss is not None:
            return reading.train_loss
        return window.mean if window else None

    def _probed(self, reading: Reading) -> dict[str, MetricView]:
        """The quantities of the whole network; those of single layers are for the eye alone."""
        for name in reading.probes:
            if "/" not in name and name not in self.probes:
                self.probes[name] = MetricHistory(name, ages=False)
        return {name: metric.update(reading.probes.get(name), reading.check) for name, metric in self.probes.items()}

    def restart(self) -> None:
        """Begin new windows after an adjustment: no trend spans a change of the learning rate."""
        for metric in self._all():
            metric.restart()

    def state_dict(self) -> dict[str, Any]:
        """The memory of every series, as plain values.

        Values of a gap that are the differences of two windows that are saved anyway go as their number: with fifty
        monitors they would be half of the state.
        """
        return {"monitors": {t.name: t.state_dict() for t in self.monitors}} | {
            "train": self.train.state_dict(),
            "levels": self.levels.state_dict(),
            "blocks": self.blocks.state_dict(),
            "beside": self.beside.state_dict() if self.beside else None,
            "validations": list(self.validations),
            "gaps": {name: metric.state_dict() | self._gap_values(name) for name, metric in self.gaps.items()},
            "probes": {name: metric.state_dict() for name, metric in self.probes.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`; a monitor that was not followed before starts afresh."""
        for metric in self.monitors:
            if metric.name in state["monitors"]:
                metric.load_state_dict(state["monitors"][metric.name])
        self.train.load_state_dict(state["train"])
        for name, metric in self.gaps.items():
            if name in state["gaps"]:
                saved = state["gaps"][name]
                values = self._differences(name, saved["values"]) if isinstance(saved["values"], int) else {}
                metric.load_state_dict(saved | values)
        probes = state["probes"]
        self.probes = {name: MetricHistory(name, ages=False) for name in probes}
        for name, metric in self.probes.items():
            metric.load_state_dict(probes[name])
        self.levels.load_state_dict(state["levels"])
        self.blocks.load_state_dict(state["blocks"])
        if self.beside is not None and state["beside"] is not None:
            self.beside.load_state_dict(state["beside"])
        self.validations = list(state["validations"])

    def _gap_values(self, name: str) -> dict[str, int]:
        values = self.gaps[name].state.values
        return {"values": len(values)} if self._differences(name, len(values))["values"] == values else {}

    def _differences(self, name: str, count: int) -> dict[str, list[float]]:
        """The newest differences between a monitor and the training series."""
        (monitor,) = (metric.state.values for metric in self.monitors if metric.name == name)
        newest = zip(reversed(monitor), reversed(self.train.state.values), strict=False)
        return {"values": [m - t for m, t in islice(newest, count)][::-1]}

    def _all(self) -> list[MetricHistory]:
        beside = [self.beside] if self.beside is not None else []
        return [
            *self.monitors,
            *beside,
            self.train,
            self.levels,
            self.blocks,
            *self.gaps.values(),
            *self.probes.values(),
        ]


def gap_between(monitor: MetricView, train: MetricView) -> float | None:
    """Generalization gap of one check, oriented (positive: worse than in training); ``None`` unless both are there.

    Both come from one reading, whose values are of one epoch: a gap to another epoch's training loss would be an
    artefact of the descent in between.
    """
    gap = monitor.value - train.value
    return gap if monitor.fresh and train.fresh and math.isfinite(gap) else None


def same_quantity(monitor: str, train: str, mode: Mode) -> bool:
    """Whether a held-out and a training metric measure the same thing, so that their difference means something.

    True where the names differ only in the words for the data (train, val, test, epoch, a loader number …); and, for
    the loss of ``training_step``, where the monitor is a loss that is minimized.

    >>> same_quantity("val_loss/dataloader_idx_0", "train_loss", Mode.MIN)
    True
    >>> same_quantity("val_acc", "train_loss", Mode.MAX), same_quantity("val/acc", "train/acc_epoch", Mode.MAX)
    (False, True)
    """
    if train == TRAIN_LOSS and mode is Mode.MIN and is_loss(monitor):
        return True
    return bare_name(monitor) == bare_name(train)
