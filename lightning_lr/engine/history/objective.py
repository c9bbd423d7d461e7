"""Whether the objective, or the data, have become other ones: both losses jump as an epoch begins, and stay.

A term of the loss that is switched on, a harder part of a curriculum, a discriminator that joins: all at once the
losses mean something else. To restore the state before would undo the user's change, and its best value can never
be reached again. Weights that are lost to a rate which is too high look otherwise: the loss rises within an epoch,
rises on, or stays where a run begins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning_lr.engine.history.statistics import mean, robust_noise
from lightning_lr.engine.records import Reading
from lightning_lr.engine.vocabulary import Verdict

FEWEST = 4
"""Checks before a jump can be told from noise, and parts of an epoch to tell when in it the loss rose."""

MEMORY = 16
"""Checks that are looked back on."""

CLEAR = 6.0
"""Deviations of a check by which both losses must jump."""

PART = 0.2
"""Share of all that the training loss has fallen by which it must jump as well."""

RISES = 0.1
"""Share of the jump by which the loss may rise on afterwards."""


@dataclass
class ObjectiveState:
    """What is remembered, as plain values; all losses so that lower is better.

    Attributes:
        losses: training loss of the newest checks.
        monitor: first monitor at the same checks.
        blocks: blocks of the training loss since the last check with metrics.
        first: training loss of the first block of the run.
        epoch: of the last check with metrics.
        rate: highest applied rate at it.
        jump: training loss before a jump, right after it, and the monitor before; empty if there is none.
    """

    losses: list[float] = field(default_factory=list)
    monitor: list[float] = field(default_factory=list)
    blocks: list[float] = field(default_factory=list)
    first: float = math.nan
    epoch: int = -1
    rate: float = 0.0
    jump: list[float] = field(default_factory=list)


class ObjectiveWatch:
    """Looks at each check whether the objective has changed: undecided as both losses jump, yes once they have stayed.

    >>> watch = ObjectiveWatch()
    >>> from lightning_lr.engine.records import TrainWindow
    >>> def looks(epoch, loss):
    ...     window = TrainWindow(loss, (loss + 0.001, loss, loss, loss - 0.001), steps=40)
    ...     return str(watch.update(Reading(epoch, epoch, 40 * epoch, {}, window), loss, train_only=False))
    >>> [looks(epoch, loss) for epoch, loss in enumerate([2.3, 1.1, 0.9, 0.8, 0.75, 1.75, 1.7, 1.68])]
    ['no', 'no', 'no', 'no', 'no', 'undecided', 'yes', 'no']
    """

    def __init__(self) -> None:
        self.state = ObjectiveState()

    def update(self, reading: Reading, monitor: float | None, train_only: bool) -> Verdict:
        """Take in one reading.

        Args:
            reading: the check.
            monitor: oriented value of the first monitor; ``None`` if it has none.
            train_only: whether the training loss alone was read.
        """
        state, window = self.state, reading.train
        if window is not None:
            state.blocks += window.blocks
            if math.isnan(state.first) and window.blocks:
                state.first = window.blocks[0]
        if train_only or monitor is None:
            return Verdict.NO
        blocks, state.blocks = state.blocks, []
        rate = max((rate.applied for rate in reading.rates.values()), default=0.0)
        at_boundary, state.epoch = reading.epoch > state.epoch, reading.epoch
        # A rate that rises makes both losses jump too, as at a warm restart: the objective is the same.
        is_calm, state.rate = rate <= 1.01 * state.rate, rate
        lost = window is not None and window.non_finite
        if not blocks or lost or not math.isfinite(monitor):
            state.jump = []
            return Verdict.NO
        loss = mean(blocks)
        verdict = self._stayed(loss, monitor, blocks) if state.jump else Verdict.NO
        if verdict is Verdict.NO and at_boundary and is_calm and self._jumped(loss, monitor, blocks):
            verdict = Verdict.UNDECIDED
        if verdict is Verdict.UNDECIDED:
            state.jump = [state.losses[-1], loss, state.monitor[-1]]
        else:
            state.jump = []
            state.losses = [*state.losses, loss][-MEMORY:]
            state.monitor = [*state.monitor, monitor][-MEMORY:]
        return verdict

    def _jumped(self, loss: float, monitor: float, blocks: Sequence[float]) -> bool:
        """Whether both lie far above all before, from the first steps of the epoch on, and do not rise further."""
        state = self.state
        if len(state.losses) < FEWEST or len(blocks) < FEWEST:
            return False
        before, jump = state.losses[-1], loss - state.losses[-1]
        third = max(1, len(blocks) // 3)
        return (
            min(blocks) > max(state.losses[-FEWEST:]) + CLEAR * robust_noise(state.losses)
            and jump > PART * (state.first - before)
            and monitor > max(state.monitor[-FEWEST:]) + CLEAR * robust_noise(state.monitor)
            and blocks[0] > loss - 0.25 * jump
            and mean(blocks[-third:]) < mean(blocks[:third]) + RISES * jump
        )

    def _stayed(self, loss: float, monitor: float, blocks: Sequence[float]) -> Verdict:
        """Whether they are still up, do not rise, and either learn or lie below where the run began."""
        before, after, monitor_before = self.state.jump
        jump = after - before
        is_up = loss > before + 0.5 * jump and monitor > monitor_before
        rises = loss > after + RISES * jump
        learns = loss < after - 2 * robust_noise(blocks) / math.sqrt(len(blocks)) if len(blocks) > 2 else loss < after
        return Verdict.YES if is_up and not rises and (learns or after < self.state.first) else Verdict.NO

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered, as plain values."""
        return asdict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        lists = {name: list(state[name]) for name in ("losses", "monitor", "blocks", "jump")}
        self.state = ObjectiveState(**{**state, **lists})
