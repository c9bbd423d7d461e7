"""When a run is left alone: a plateau that the schedule may end, or that is young, and a run that no cut has helped.

A plateau is the mildest of the conditions: nothing is lost while it lasts, and a schedule that falls by itself ends it.
A cut in its midst would be undone by nobody. So it is answered only where the schedule holds still, and where it has
lasted for a fair part of a known budget: three checks are a tenth of thirty epochs, and nothing of two hundred.

A run that has seen its best may look like a plateau, or overfit, until its end. Cut for ever its rate would be so small
that it could as well have stopped; a policy that wants it stopped says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning_lr.engine.policies.policy import Response
from lightning_lr.engine.records import Reading
from lightning_lr.engine.vocabulary import Action

MOVES = 1e-4
"""Relative change of the scheduled rate from one check to the next beyond which the schedule moves. A cosine over a
thousand checks moves by more than that from its first tenth on."""

LEAST = 1e-3
"""Cuts since the best, multiplied, from which on no further one is made: usual schedules end between a tenth and a
thousandth of their highest rate, so whatever a lower rate could bring has come by then."""


@dataclass
class RestraintState:
    """What is remembered from check to check; plain values, saved whole.

    Attributes:
        scheduled: parameter group → rate that the user's schedule asked for.
        moves: whether that was another one at the check before.
        best_step: step of the best so far, where the budget is known.
        cut: product of the adjustments since the best, or since the run has learned; ``None`` before.
    """

    scheduled: dict[str, float] = field(default_factory=dict)
    moves: bool = False
    best_step: float | None = None
    cut: float | None = None


class Restraint:
    """Follows the user's schedule, how far the run was at its best, and what was cut since.

    >>> from lightning_lr.engine.records import Rate
    >>> restraint, cut = Restraint(), Response(Action.REDUCE, 0.3, defer_to_scheduler=True, min_plateau_fraction=0.05)
    >>> for check, rate in enumerate([0.1, 0.1, 0.08]):
    ...     rates, far = {"lr-SGD": Rate(rate, 1.0, rate)}, {"progress": check / 100, "budget": 100}
    ...     reading = Reading(check, check, check, {}, rates=rates, **far)
    ...     restraint.look(reading, new_best=check == 0)
    ...     print(restraint.against(cut, reading))
    it has lasted for 0 % of the budget, of 5 %
    it has lasted for 1 % of the budget, of 5 %
    the schedule itself is changing the rate
    """

    def __init__(self) -> None:
        self.state = RestraintState()

    def look(self, reading: Reading, new_best: bool, learned: bool = False) -> None:
        """Take note of one check.

        Args:
            reading: the check.
            new_best: whether the first monitor has a new best at it.
            learned: whether the run has surely learned: before that its rate may be too high by any factor.
        """
        state = self.state
        scheduled = {name: rate.scheduled for name, rate in reading.rates.items()}
        state.moves = any(_moved(state.scheduled.get(name), rate) for name, rate in scheduled.items())
        state.scheduled = scheduled
        if new_best or state.best_step is None:
            state.best_step = _step(reading)
        if learned if state.cut is None else new_best:
            state.cut = 1.0

    def moved(self, factor: float) -> None:
        """Take note of an adjustment."""
        if self.state.cut is not None:
            self.state.cut *= factor

    def against(self, response: Response, reading: Reading) -> str:
        """Why this response must wait; empty where nothing speaks against it."""
        if response.defer_to_scheduler and self.state.moves:
            return "the schedule itself is changing the rate"
        step, best = _step(reading), self.state.best_step
        if not response.min_plateau_fraction or step is None or best is None or reading.budget is None:
            return ""
        lasted = (step - best) / reading.budget
        if lasted >= response.min_plateau_fraction:
            return ""
        return f"it has lasted for {100 * lasted:.0f} % of the budget, of {100 * response.min_plateau_fraction:.0f} %"

    def against_cutting(self, response: Response, urgent: bool = False) -> str:
        """Why there is no further cut; empty where nothing speaks against it, as for an urgent condition.

        >>> restraint, cut = Restraint(), Response(Action.REDUCE, 0.1)
        >>> restraint.look(Reading(0, 0, 0, {}), new_best=True, learned=True)
        >>> for _ in range(3):
        ...     print(restraint.against_cutting(cut) or "cut")
        ...     restraint.moved(0.1)
        cut
        cut
        cut
        >>> restraint.against_cutting(cut), restraint.against_cutting(cut, urgent=True)
        ('the adjustments since the best amount to × 0.001, and none has brought a new one', '')
        """
        cut = self.state.cut
        # A little more than the least: three cuts to a tenth are a thousandth but for rounding.
        if cut is None or cut > 1.001 * LEAST or response.action is not Action.REDUCE or urgent:
            return ""
        return f"the adjustments since the best amount to × {cut:.2g}, and none has brought a new one"

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered, as plain values."""
        return asdict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.state = RestraintState(**{**state, "scheduled": dict(state["scheduled"])})


def _step(reading: Reading) -> float | None:
    """Steps so far, not the share of them: a run that is resumed with more epochs has another budget."""
    if reading.progress is None or reading.budget is None:
        return None
    return reading.progress * reading.budget


def _moved(before: float | None, now: float) -> bool:
    return before is not None and abs(now - before) > MOVES * max(abs(before), abs(now))
