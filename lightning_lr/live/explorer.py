"""Runs a sweep as ordinary training steps: each step at a rate of its own, its loss read at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_lr.core.exploration import Sweep
from lightning_lr.core.records import Trial
from lightning_lr.live.controlled_groups import ControlledGroups
from lightning_lr.live.loss_window import loss_of
from lightning_lr.live.ranks import Ranks

PART = "exploration"
"""The scale of a sweep stands beside that of the decisions, so that it can go without a trace."""


class Explorer:
    """An exploration that is under way.

    A step may be made of several batches whose gradients are accumulated; its loss is their mean. On several ranks the
    losses are averaged: one number a step, the only traffic beside the checks, and it ends with the exploration.

    Args:
        sweep: which rate at which step.
        groups: the learning rates; all groups keep their ratio to the first.
        ranks: the other processes.
    """

    def __init__(self, sweep: Sweep, groups: ControlledGroups, ranks: Ranks) -> None:
        self.sweep = sweep
        self.groups = groups
        self.ranks = ranks
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._batches: list[float] = []
        self._base = next(iter(groups.rates().values())).applied

    def before_batch(self) -> None:
        """Set the rate of the coming step."""
        self.groups.set_part(PART, self.sweep.rate(len(self.rates)) / self._base)

    def after_batch(self, outputs: Any, divided: int, stepped: bool) -> bool:
        """Take the loss of a batch, and say whether the exploration is over.

        Args:
            outputs: what ``on_train_batch_end`` receives.
            divided: by how much Lightning divided the loss.
            stepped: whether the optimizer stepped after this batch.
        """
        loss = loss_of(outputs)
        if loss is not None:
            self._batches.append(float(loss) * divided)
        if not stepped:
            return False
        total, count = self.ranks.sum([sum(self._batches), float(len(self._batches))])
        self._batches = []
        self.rates.append(self.sweep.rate(len(self.rates)))
        # A step without a loss tells nothing: it ends the exploration, as a loss that is no number does.
        self.losses.append(total / count if count else float("nan"))
        return self.sweep.over(self.losses)

    def state_dict(self) -> dict[str, Any]:
        """How far it is, as plain values."""
        return {
            "steps": self.sweep.steps,
            "base": self._base,
            "rates": self.rates,
            "losses": self.losses,
            "batches": self._batches,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was written, in the middle of the sweep."""
        self.sweep, self._base = Sweep(state["steps"]), state["base"]
        self.rates, self.losses = list(state["rates"]), list(state["losses"])
        self._batches = list(state["batches"])

    def trial(self) -> Trial:
        """What was seen."""
        return Trial(tuple(self.rates), tuple(self.losses))

    def end(self) -> None:
        """Take the scale of the sweep away."""
        self.groups.set_part(PART, 1.0)
