"""A time limit in steps: how long a step takes, and how long what comes between, by the clock of the Trainer's Timer.

This is the only clock that may move a learning rate, and it moves the *budget*: rank 0 says at a check how many steps
the time that is left is good for, all ranks take that number over, and the journal has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightning_lr.run.trainer.trainer_adapter import steps_an_epoch, stops_at_epoch_end, timers_of

FIRST = 12
"""Steps before the first estimate: enough for a mean, few enough to be charged to any budget."""

WARM = 4
"""Steps that are not counted at the start: kernels are chosen then, and loaders fill their queues."""

MEMORY = 2000
"""Steps after which the sums are halved: a speed of an hour ago must not count until the end."""


@dataclass
class TimeBudgetState:
    """What was measured; plain numbers, saved whole.

    Attributes:
        steps: steps that followed another at once.
        seconds: their time together.
        pauses: steps that followed a validation, or whatever else comes between.
        paused: their time together.
        stretch: steps from the last pause to now.
        every: steps from one pause to the next; 0 before there were two.
        limit: the time limit in seconds.
    """

    steps: float = 0.0
    seconds: float = 0.0
    pauses: float = 0.0
    paused: float = 0.0
    stretch: int = 0
    every: int = 0
    limit: float = 0.0


class TimeBudget:
    """How many steps the rest of the time is good for.

    Args:
        elapsed: seconds since training began, those of earlier parts of a resumed run included.
        limit: seconds after which the Timer ends the run.
        whole: steps of an epoch, where the Timer ends the run at the end of one only; 0 where it ends it at once.

    >>> clock = iter(range(1, 100))                # each step takes a second
    >>> time_budget = TimeBudget(lambda: next(clock), limit=60.0)
    >>> for _ in range(12):
    ...     time_budget.stepped()
    >>> time_budget.budget(steps=12)                      # asked in the 13th second
    59
    """

    def __init__(self, elapsed: Callable[[], float], limit: float, whole: int = 0) -> None:
        self.elapsed = elapsed
        self.whole = whole
        self.state = TimeBudgetState(limit=limit)
        self.skipped()

    def skipped(self) -> None:
        """The next few steps are not counted: they come first, or after an exploration."""
        self._cold, self._pause, self._last = WARM, False, math.nan

    def stepped(self) -> None:
        """Take note that a step is over."""
        now, before, state = self.elapsed(), self._last, self.state
        paused, self._pause, self._last = self._pause, False, now
        if paused:
            state.every, state.stretch = state.stretch or state.every, 0
        state.stretch += 1
        if self._cold:
            self._cold -= 1
        elif paused:
            state.pauses, state.paused = state.pauses + 1, state.paused + now - before
        else:
            state.steps, state.seconds = state.steps + 1, state.seconds + now - before
        if state.steps >= MEMORY:
            state.steps, state.seconds = state.steps / 2, state.seconds / 2
            state.pauses, state.paused = state.pauses / 2, state.paused / 2

    def pauses(self) -> None:
        """Take note that a validation, or the end of an epoch, comes before the next step."""
        self._pause = True

    def budget(self, steps: int) -> int | None:
        """Steps of the whole run, ``None`` before anything was measured.

        Args:
            steps: those that were taken.
        """
        left = self.state.limit - self.elapsed()
        if left <= 0:
            total = steps
        elif not self.state.steps:
            return None
        else:
            total = steps + max(1, round(self._steps_in(left)))
        return math.ceil(total / self.whole) * self.whole if self.whole else total

    def state_dict(self) -> dict[str, Any]:
        """What was measured, as plain values."""
        return asdict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`, with the limit of now."""
        self.state = TimeBudgetState(**{**state, "limit": self.state.limit})

    def _steps_in(self, left: float) -> float:
        """Steps of so many seconds: up to the next pause, then whole rounds of steps and pause, then the rest."""
        state = self.state
        step = max(state.seconds / state.steps, 1e-9)
        if not state.pauses or not state.every:
            return left / step
        # The step after a pause is timed with it.
        pause = max(state.paused / state.pauses - step, 0.0)
        ahead = 0
        if not self._pause:
            ahead = max(0, state.every - state.stretch)
            if left <= ahead * step + pause:
                return min(float(ahead), left / step)
            left -= ahead * step + pause
        rounds, rest = divmod(left, state.every * step + pause)
        return ahead + rounds * state.every + min(float(state.every), rest / step)


def time_budget_of(trainer: Any) -> TimeBudget:
    """The time limit of the Timer that ends the run first."""
    timer = min(timers_of(trainer), key=lambda timer: float(timer.time_remaining()))
    epoch = steps_an_epoch(trainer)
    ends_late = stops_at_epoch_end(timer) and math.isfinite(epoch)
    limit = round(timer.time_elapsed() + timer.time_remaining(), 3)  # as it was given: the clock went on in between
    return TimeBudget(timer.time_elapsed, limit, whole=int(epoch) if ends_late else 0)
