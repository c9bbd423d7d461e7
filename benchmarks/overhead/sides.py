"""One run that alternates between two sides: with the callbacks that are measured, and with an empty one instead.

Two runs differ by up to 2.5 % though they do the same, because their memory lies elsewhere. Here both sides train the
same weights with the same optimizer in the same thread, a few milliseconds apart; only whom the Trainer calls differs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import thread_time
from typing import Any

from lightning.pytorch.callbacks import Callback

ON, OFF = "on", "off"

Switches = Callable[[Any, Sequence[Callback]], dict[str, Callable[[], None]]]


class Empty(Callback):
    """Does nothing: what the Trainer's own calls of six hooks a step cost is no one's fault."""


@dataclass
class Sides:
    """The batches of the run: the same one, again and again.

    A turn is a step to get used to the side, a block of timed steps, and a step that ends in a validation.

    Attributes:
        trainer: that trains on them.
        model: counts its validations, to be sure that they come where they are to be timed.
        theirs: the callbacks that are measured.
        ready: whether the run has come to the part that is measured; else it goes on for a turn as it is.
        block: timed steps of a turn.
        rounds: turns of each side.
        length: batches of the run, as the Trainer is told; it ends when all has been measured.
        switches: makes, from the Trainer and the callbacks, what puts the run on either side.
        clock: what is read before and after: by default the CPU time of this thread.
        steps: side → seconds of a step, turn by turn.
        checks: side → seconds of the step with the validation.
    """

    trainer: Any
    model: Any
    theirs: Sequence[Callback]
    ready: Callable[[], bool]
    block: int
    rounds: int
    length: int
    switches: Switches
    clock: Callable[[], float] = thread_time
    steps: dict[str, list[float]] = field(default_factory=lambda: {ON: [], OFF: []})
    checks: dict[str, list[float]] = field(default_factory=lambda: {ON: [], OFF: []})

    def __len__(self) -> int:
        return self.length

    @property
    def turn(self) -> int:
        """Steps of a turn, and from one validation to the next."""
        return self.block + 2

    def __iter__(self) -> Iterator[Any]:
        while not self.ready():
            for _ in range(self.turn):
                yield self.model.batch
        switches, chance = self.switches(self.trainer, self.theirs), random.Random(0)
        for _ in range(self.rounds):
            for side in chance.sample((ON, OFF), 2):
                switches[side]()
                yield from self._turn(side)
        switches[ON]()  # who began it ends it

    def _turn(self, side: str) -> Iterator[Any]:
        yield self.model.batch
        validations, began = self.model.validations, self.clock()
        for _ in range(self.block):
            yield self.model.batch
        ended, within = self.clock(), self.model.validations - validations
        yield self.model.batch
        checked = self.clock()
        if (within, self.model.validations - validations) != (0, 1):
            raise RuntimeError("the validations are not where they are timed")
        self.steps[side].append((ended - began) / self.block)
        self.checks[side].append(checked - ended)


def with_and_without(trainer: Any, theirs: Sequence[Callback]) -> dict[str, Callable[[], None]]:
    """Side → what puts the Trainer there: its callbacks, its schedulers, and what waits for the optimizer's step."""
    present, schedulers = list(trainer.callbacks), list(trainer.strategy.lr_scheduler_configs)
    others = [callback for callback in present if callback not in theirs]
    waiting = [(hooks, dict(hooks)) for hooks in (o._optimizer_step_pre_hooks for o in trainer.optimizers)]

    def to(callbacks: list[Any], configs: list[Any], on: bool) -> None:
        trainer.callbacks[:] = callbacks
        trainer.strategy.lr_scheduler_configs[:] = configs
        for hooks, theirs in waiting:
            hooks.clear()
            hooks.update(theirs if on else {})

    off = [Empty(), *others]
    return {ON: lambda: to(present, schedulers, True), OFF: lambda: to(off, [], False)}
