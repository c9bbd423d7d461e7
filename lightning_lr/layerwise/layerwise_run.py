"""What belongs to one fit of ``LayerwiseLearningRate``: measure, learn, apply, write."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from lightning_lr.errors import UnsupportedError
from lightning_lr.layerwise.groups import split_groups
from lightning_lr.layerwise.log import LayerLog
from lightning_lr.layerwise.probe import LayerProbe
from lightning_lr.layerwise.rule import LayerChange, LayerRule
from lightning_lr.loggers.journal_file import JournalFile
from lightning_lr.loggers.journal_storage import is_remote
from lightning_lr.optim.lr_scale import LRScale
from lightning_lr.optim.param_group_lrs import LAYER, innermost, read

OWNER = "layerwise"


class LayerwiseRun:
    """One fit.

    Args:
        optimizer: the one optimizer.
        layers: layer → its parameters.
        rule: what learns the multipliers.
        every_n_steps: steps of the optimizer between two measurements.
        probe: what measures the layers.
        loggers: where rank 0 shows what happens; none on other ranks.
        record: where rank 0 writes it down.
        dry_run: change nothing.
        warn: called with a sentence where a logger fails.
    """

    def __init__(
        self,
        optimizer: Any,
        layers: Mapping[str, Sequence[nn.Parameter]],
        rule: LayerRule,
        every_n_steps: int,
        probe: LayerProbe,
        loggers: Sequence[Any],
        record: JournalFile,
        dry_run: bool,
        warn: Callable[[str], None],
    ) -> None:
        self.optimizer, self.layers, self.rule = innermost(optimizer), layers, rule
        self.every_n_steps, self.dry_run = every_n_steps, dry_run
        self.probe, self.record = probe, record
        self.log = LayerLog(loggers, list(layers), warn)
        self.steps = 0
        self.changes: dict[str, LayerChange] = {}
        self._seen = False

    @property
    def control(self) -> LRScale:
        """The learning rates; shared with any other callback that scales them."""
        return LRScale.of(self.optimizer)

    def scan(self, schedulers: Sequence[Any]) -> list[Any]:
        """Split groups that others added, and hide the multipliers from schedulers; returns those that refuse."""
        if self.dry_run:
            return []
        split_groups(self.optimizer, self.layers, schedulers)
        return self.control.attach(schedulers)

    def before_step(self) -> None:
        """Half of a measurement, where one is due; the gradients are there."""
        if self.probe.opened:
            self._must_have_gradients()
            self.probe.close()
        elif self.steps % self.every_n_steps == 0:
            self.probe.open()
        self.steps += 1

    def _must_have_gradients(self) -> None:
        if not self._seen and not self.probe.has_gradients():
            raise UnsupportedError(
                "Expected gradients in the layers' parameters before a step of the optimizer but found none: "
                "multipliers are learnt from gradients. Remove LayerwiseLearningRate, or let `training_step` return a "
                "loss that depends on the parameters."
            )
        self._seen = True

    def after_step(self, step: int) -> None:
        """Learn and apply, where a window is full.

        Args:
            step: position on the loggers' x-axis.
        """
        if not self.dry_run:
            self.control.before_step()  # what a module wrote after its step shall be seen with its multiplier
        if len(self.probe) >= self.rule.window:
            self.changes = self.rule.update(self.probe.read(), self.rates())
            self.apply()
            multipliers = self.rule.multipliers
            self.log.write(step, multipliers, self.changes)
            changes = {layer: asdict(change) for layer, change in self.changes.items()}
            line = {"kind": "window", "step": step, "multipliers": multipliers, "changes": changes}
            self.record.write(json.dumps(line))

    def rates(self) -> list[float]:
        """The learning rate of every layer."""
        groups = self.optimizer.param_groups
        rates = dict.fromkeys(self.layers, 0.0)
        layer_of = {id(one): name for name, parameters in self.layers.items() for one in parameters}
        for group, rate in zip(groups, read(groups), strict=True):
            for layer in {layer_of[id(one)] for one in group["params"] if id(one) in layer_of}:
                rates[layer] = rates[layer] or rate  # of several groups the first
        return list(rates.values())

    def apply(self) -> None:
        """Make the groups hold the multipliers."""
        if not self.dry_run:
            multipliers = self.rule.multipliers
            groups = self.optimizer.param_groups
            self.control.set_scale(OWNER, [multipliers.get(group.get(LAYER), 1.0) for group in groups])

    def end(self) -> None:
        """Draw the last heat map, and leave the schedulers as they were; the groups stay split."""
        self.log.draw()
        self.probe.drop()
        if not self.dry_run:
            self.control.detach()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next multipliers depend on, beside the measurements of the open window."""
        rates = {} if self.dry_run else self.control.state(OWNER)
        return {
            "version": 1,
            "split": not self.dry_run,
            "steps": self.steps,
            "rule": self.rule.state_dict(),
            "rates": rates,
            "record": self.record.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Go on where a checkpoint was written; returns what is to be said."""
        self.steps = state["steps"]
        self.rule.load_state_dict(state["rule"])
        if state["record"].get("path"):
            self.log.recall(self.record.read())
        if self.dry_run or not state["rates"]:
            return []
        return self.control.load(OWNER, state["rates"])


def record_path(given: str | None, journal: str | None) -> str | None:
    """Where the record goes: what the user gave, else beside the journal."""
    if given is not None:
        return given if is_remote(given) else str(Path(given).absolute())
    return None if journal is None else f"{journal.replace(os.sep, '/').rpartition('/')[0]}/layerwise_lr.jsonl"
