"""What sets the rate between the decisions: the search at the start, and the curve over the budget.

The budget is in here as well: it is what the curve is laid out over. Rank 0 says how long it is, and all agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightning_lr.engine.schedule import NEVER, WARMUP, AnnealCurve
from lightning_lr.engine.vocabulary import Event
from lightning_lr.optim.controlled_groups import ControlledGroups
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.lr_search.search import LRSearch
from lightning_lr.run.readings import reduction_format
from lightning_lr.run.trainer.step_budget import StepBudget
from lightning_lr.run.trainer.time_budget import TimeBudget


@dataclass
class LRSchedule:
    """How far the run is, and what that means for the rate of the next step.

    Attributes:
        groups: the learning rates.
        ranks: the other processes.
        steps: how many optimizer steps there were; Lightning's own count lags behind while a batch ends.
        budget: how many there will be in the whole run, as the ranks agreed; ``None`` where that is unknown.
        step_budget: how many steps the Trainer's limits in epochs and steps allow.
        time_budget: how many steps a time limit is good for, where there is one.
        budget_changed: called whenever the budget is another one.
        budget_known_at: the step after which a time limit is known in steps; ``None`` where it is, or there is none.
        lr_search: the search that is under way.
        anneals: whether the end of a known budget is annealed; ``None`` if the rate has to be checked for that.
        checked: whether it was.
        moved: whether the search has moved it.
        curve: the learning rate over the budget, as a multiple of what the decisions ask for.
        annealing: whether the end of that curve has begun.
        ends_at: step at which the run is to end before its budget; ``None`` where it is not.
        lowest: the lowest multiple since the end began: it never rises because the budget has changed.
        may_end: whether a decision may begin the end now: nothing else ends the run.
        asks_again: whether all ranks agree on the budget at the next batch, since it may be another one.
        agreed_at: step at which they last did; at the start they do so when the run is set up.
    """

    groups: ControlledGroups
    ranks: Ranks
    steps: int = 0
    budget: int | None = None
    step_budget: StepBudget | None = None
    time_budget: TimeBudget | None = None
    budget_changed: Callable[[], None] = lambda: None
    budget_known_at: int | None = None
    lr_search: LRSearch | None = None
    anneals: bool | None = False
    checked: bool = False
    moved: bool = False
    curve: AnnealCurve | None = None
    annealing: bool = False
    ends_at: int | None = None
    lowest: float = 1.0
    may_end: Callable[[], bool] = lambda: False
    asks_again: bool = False
    agreed_at: int = 0

    @property
    def progress(self) -> float | None:
        """Share of the budget that is used up."""
        return None if self.budget is None else self.steps / self.budget

    # --- steps --------------------------------------------------------------------------------------------------------

    def epoch_begins(self) -> None:
        """Take note that an epoch begins with its first batch."""
        if self.step_budget is not None:
            self.step_budget.epoch_begins(self.steps)
            self.asks_again |= self.step_budget.data_may_change or self.agreed_at != self.steps

    def epoch_ends(self) -> None:
        """Take note that an epoch has ended; how long it was may tell how long the others will be."""
        if self.step_budget is not None:
            self.step_budget.epoch_ends(self.steps)
            self.asks_again |= self.budget is None and self.step_budget.may_be_learned

    def batch_begins(self) -> None:
        """Agree on the budget where it may be another one, and set the rate of the coming step."""
        if self.step_budget is not None:
            self.step_budget.batch_begins()
        if self.asks_again:
            self.asks_again = False
            if self.budget_known_at is None:
                self.agree_on_budget()
        self.before_batch()

    def before_batch(self) -> None:
        """Set the rate of the coming step, where it changes from step to step."""
        if self.curve is not None:
            self.groups.set_curve(self._multiple(self.curve))

    def _multiple(self, curve: AnnealCurve) -> float:
        multiple = curve.at(self.steps)
        if self.annealing and curve.has_risen(self.steps):
            # A curve with another end lies on other stairs, which may be higher by a thousandth.
            multiple = self.lowest = min(multiple, self.lowest)
        return multiple

    def after_batch(self, stepped: bool) -> Event | None:
        """Go on to the next part of the run where one has ended, and name the event; the step is counted already.

        Args:
            stepped: whether the optimizer stepped after this batch.
        """
        if self.time_budget is not None and stepped:
            self.time_budget.stepped()
        if self.budget_known_at is not None and self.steps >= self.budget_known_at:
            self.budget_known_at = None
            self.agree_on_budget()
        if self.curve is not None and not self.annealing and self.steps >= self.curve.anneals_from:
            self.annealing = True
            return Event.ANNEAL
        return None

    def pauses(self) -> None:
        """A validation, or the end of an epoch, comes before the next step: its time is not that of a step."""
        if self.time_budget is not None:
            self.time_budget.pauses()

    def searched(self, checked: bool, moved: bool) -> None:
        """The rate is set: lay the curve over what is left, if it was checked.

        Args:
            checked: whether it may be annealed.
            moved: whether it is another one than was given.
        """
        self.checked, self.moved = checked, moved
        if self.time_budget is not None:
            self.time_budget.skipped()
        self.lay_curve(warms_up=moved)

    def begin_anew(self) -> None:
        """The start was restored: warm up once more, over what is left of the budget."""
        if not self.annealing:
            self.curve = None
            self.lay_curve(warms_up=self.moved)

    def take_back(self) -> None:
        """The rate was not confirmed: it is no longer one that was checked."""
        self.checked = self.moved = False
        if self.anneals is None and self.ends_at is None:
            self.curve, self.annealing, self.lowest = None, False, 1.0
            self.groups.set_curve(1.0)

    def lay_curve(self, warms_up: bool = False) -> None:
        """From here to the end of the budget, if that is known and annealed, and there is no curve yet.

        Args:
            warms_up: whether the rate rises first.
        """
        if self._anneals and self.budget is not None and self.curve is None and self.lr_search is None:
            self.curve = AnnealCurve(first=self.steps, budget=self.budget, warmup=WARMUP if warms_up else 0.0)

    @property
    def _anneals(self) -> bool:
        return self.checked if self.anneals is None else self.anneals

    def end_early(self, end: int) -> None:
        """From here on the rate falls to zero at that step, which is the new budget."""
        self.ends_at = self.budget = end
        curve = self.curve or AnnealCurve(first=self.steps, budget=end, warmup=0.0)
        self.curve, self.annealing = curve.ending(end, self.steps), True
        self.budget_changed()

    @property
    def ended_early(self) -> bool:
        """Whether that step has come."""
        return self.ends_at is not None and self.steps >= self.ends_at

    # --- budget -------------------------------------------------------------------------------------------------------

    def own_budget(self) -> int | None:
        """The budget as this rank sees it; only rank 0's opinion counts."""
        limit = None if self.step_budget is None else self.step_budget.budget(self.steps)
        limit = self.shortened(limit)
        if self.time_budget is None:
            return limit
        timed = self.time_budget.budget(self.steps)
        return self.budget if timed is None else min(timed, limit or timed)

    def shortened(self, budget: int | None) -> int | None:
        """A budget, up to where the run is to end."""
        return budget if self.ends_at is None else min(budget or self.ends_at, self.ends_at)

    def agree_on_budget(self) -> None:
        """Rank 0's budget, on all ranks: a broadcast of its own, where no check is due."""
        (agreed,) = self.ranks.from_rank_zero([reduction_format.pack_budget(self.own_budget())])
        self.adopt_budget(reduction_format.unpack_budget(agreed))

    def adopt_budget(self, budget: int | None) -> None:
        """From now on this one. The rate goes on from where it is: it never jumps, and where it falls it never rises.

        Args:
            budget: ``None`` while it is not known: the rate is held until it is.
        """
        self.agreed_at = self.steps
        if budget != self.budget:
            self.budget = budget
            self.budget_changed()
        falls = self._anneals or self.ends_at is not None
        end = NEVER if budget is None or not falls else budget
        if self.curve is None:
            self.lay_curve()
        elif self.curve.budget != end:
            self.curve = self.curve.moved_to(end, self.steps)

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """How far it is, as plain values."""
        return {
            "steps": self.steps,
            "budget": self.budget,
            "step_budget": self.step_budget.state_dict() if self.step_budget else None,
            "time_budget": self.time_budget.state_dict() if self.time_budget else None,
            "budget_known_at": self.budget_known_at,
            "searching": self.lr_search is not None,
            "checked": self.checked,
            "moved": self.moved,
            "curve": asdict(self.curve) if self.curve else None,
            "annealing": self.annealing,
            "ends_at": self.ends_at,
            "lowest": self.lowest,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; ``plan`` takes up the time limit, and no search goes on."""
        self.steps = state["steps"]
        self.budget = state["budget"]
        self.budget_known_at = state["budget_known_at"]
        self.checked, self.moved = state["checked"], state["moved"]
        self.curve = AnnealCurve(**state["curve"]) if state["curve"] else None
        self.annealing = state["annealing"]
        self.ends_at = state["ends_at"]
        self.lowest = state["lowest"]
