"""The losses of the steps after a search, looked at now and then: on a device each look waits for it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_lr.engine.lr_search.guard import StepGuard
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.readings.loss_window import joined, loss_of

LOOKS_PER_RUN, LONGEST = 100, 256
"""Looks over the whole run, and steps from one to the next at the most."""

EACH = 32
"""Steps that are looked at one by one first: where the rate is far too high, it shows then."""

UNKNOWN = 10
"""Steps from one look to the next if the budget is unknown."""


class LossWatch:
    """Detects that training is wrecked; its memory is no longer than three losses, and begins anew after a resume.

    Args:
        limit: loss above which a step is bad.
        budget: optimizer steps of the run; ``None`` if that is unknown.
        ranks: the other processes: training is wrecked where it is on most of them.
    """

    def __init__(self, limit: float, budget: int | None, ranks: Ranks) -> None:
        self.limit, self.ranks = limit, ranks
        self.every = UNKNOWN if budget is None else min(LONGEST, max(1, budget // LOOKS_PER_RUN))
        self.begin()

    def begin(self) -> None:
        """From here on, as at the start."""
        self._guard, self._steps, self._waiting = StepGuard(self.limit), 0, list[tuple[Tensor, int]]()

    def after_batch(self, outputs: Any, divided: int, stepped: bool) -> bool:
        """Take the loss of a batch; whether training is wrecked.

        Args:
            outputs: what ``on_train_batch_end`` receives.
            divided: by how much Lightning divided the loss.
            stepped: whether the optimizer stepped after this batch.
        """
        loss = loss_of(outputs)
        if loss is not None:
            self._waiting.append((loss, divided))
        self._steps += stepped
        if not stepped or (self._steps > EACH and self._steps % self.every):
            return False
        losses = joined([loss for loss, _ in self._waiting]).tolist() if self._waiting else []
        bad = [self._guard.is_wrecked(loss * divided) for loss, (_, divided) in zip(losses, self._waiting, strict=True)]
        self._waiting.clear()
        return self.ranks.sum([float(any(bad))])[0] > self.ranks.world_size / 2
