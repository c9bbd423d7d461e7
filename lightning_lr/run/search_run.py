"""Looks for the first learning rate in ordinary training steps: a sweep, then a few short branches.

The weights after it are those before it. In between, each part begins from the same snapshot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from lightning_lr.engine.lr_search.plan import Exploration
from lightning_lr.engine.lr_search.range_test import Sweep, suggestion
from lightning_lr.engine.lr_search.trials import multiple, next_rate, score
from lightning_lr.engine.records import Branch, Trial
from lightning_lr.optim.controlled_groups import ControlledGroups
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.readings.loss_window import loss_of
from lightning_lr.run.trainer.batch_cache import BatchCache

PART = "exploration"
"""The scale of an exploration stands beside that of the decisions, so that it can go without a trace."""


class LRSearch:
    """An exploration that is under way.

    A step may be made of several batches whose gradients are accumulated; its loss is their mean. On several ranks the
    losses are averaged: one number a step, the only traffic beside the checks, and it ends with the exploration.

    Args:
        plan: how many steps for what.
        groups: the learning rates; all groups keep their ratio to the first.
        ranks: the other processes.
        restore: brings the state of the start back.
        batches: makes the later branches train on the batches of the first.
    """

    def __init__(
        self,
        plan: Exploration,
        groups: ControlledGroups,
        ranks: Ranks,
        restore: Callable[[], None],
        batches: Callable[[], BatchCache],
    ) -> None:
        self.plan = plan
        self.groups = groups
        self.ranks = ranks
        self.restore = restore
        self.make_batches = batches
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.branches: list[Branch] = []
        self.branch: list[float] = []
        self.level: float | None = None
        self.batches: BatchCache | None = None
        self._pending: list[float] = []
        self._base = next(iter(groups.rates().values())).applied

    def before_batch(self) -> None:
        """Set the rate of the coming step."""
        self.groups.set_part(PART, self._rate() / self._base)

    def after_batch(self, outputs: Any, divided: int, stepped: bool) -> bool:
        """Take the loss of a batch, and say whether the exploration is over.

        Args:
            outputs: what ``on_train_batch_end`` receives.
            divided: by how much Lightning divided the loss.
            stepped: whether the optimizer stepped after this batch.
        """
        loss = loss_of(outputs)
        if loss is not None:
            self._pending.append(float(loss) * divided)
        if not stepped:
            return False
        total, count = self.ranks.sum([sum(self._pending), float(len(self._pending))])
        self._pending = []
        # A step without a loss ends its part, as a NaN or infinite loss does.
        mean = total / count if count else float("nan")
        return self._swept(mean) if self.level is None else self._branched(mean)

    def trial(self) -> Trial:
        """What was seen."""
        return Trial(tuple(self.rates), tuple(self.losses), tuple(self.branches), self.plan.branch_steps)

    def end(self) -> None:
        """Take the scale of the exploration away, and let the module be."""
        self.groups.set_part(PART, 1.0)
        self.detach()

    def detach(self) -> None:
        """Give the module its own ``training_step`` back."""
        if self.batches is not None:
            self.batches.detach()

    # --- its two parts ------------------------------------------------------------------------------------------------

    def _rate(self) -> float:
        if self.level is None:
            return self.plan.sweep.rate(len(self.rates))
        return self.level * multiple(len(self.branch), self.plan.branch_steps)

    def _swept(self, loss: float) -> bool:
        self.rates.append(self._rate())
        self.losses.append(loss)
        if not self.plan.sweep.over(self.losses):
            return False
        suggested = suggestion(self.trial())
        if suggested.rate is None or not suggested.fell or not self.plan.branch_steps:
            return True
        self.batches = self.make_batches()
        self._begin_branch(suggested.rate)
        return False

    def _branched(self, loss: float) -> bool:
        assert self.level is not None
        self.branch.append(loss)
        if len(self.branch) < self.plan.branch_steps and math.isfinite(loss):
            return False
        self.branches.append(Branch(self.level, score(self.branch, self.plan.branch_steps)))
        following = next_rate(self.branches[0].rate, self.branches)
        if following is None:
            return True
        self._begin_branch(following)
        return False

    def _begin_branch(self, level: float) -> None:
        self.restore()
        self.level, self.branch = level, []
        if self.branches and self.batches is not None:
            self.batches.rewind()

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """How far it is, as plain values."""
        return {
            **asdict(self.plan.sweep),
            "branch_steps": self.plan.branch_steps,
            "base": self._base,
            "rates": self.rates,
            "losses": self.losses,
            "pending": self._pending,
            "level": self.level,
            "branch": self.branch,
            "branches": [asdict(branch) for branch in self.branches],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was written, in the middle of the exploration."""
        self.plan, self._base = saved_plan(state), state["base"]
        self.rates, self.losses = list(state["rates"]), list(state["losses"])
        self._pending, self.level, self.branch = list(state["pending"]), state["level"], list(state["branch"])
        self.branches = [Branch(**branch) for branch in state["branches"]]
        if self.level is not None:
            self.batches = self.make_batches()

    def kept_batches(self) -> dict[str, Any] | None:
        """This rank's batches, for a checkpoint that is written between two branches."""
        return self.batches.state_dict() if self.batches is not None else None

    def load_batches(self, state: dict[str, Any] | None) -> None:
        """Take them back."""
        if state is not None and self.batches is not None:
            self.batches.load_state_dict(state)


def saved_plan(state: Mapping[str, Any]) -> Exploration:
    """The plan of an exploration, from :meth:`LRSearch.state_dict`: the budget may be another by now."""
    sweep = Sweep(**{field.name: state[field.name] for field in fields(Sweep) if field.name in state})
    return Exploration(sweep, state["branch_steps"])
