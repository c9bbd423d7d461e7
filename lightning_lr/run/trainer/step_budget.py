"""How many optimizer steps the whole run has, by ``max_epochs`` and ``max_steps``.

The budget is the steps that were taken and what is left of the epochs, each as long as an epoch is now. So it holds
after a resume with another batch size, and for data that grow or shrink. How long an epoch is follows from its batches
where the Trainer knows them; else, and in manual optimization, where the module may step as seldom as it likes, from
the last whole epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightning_lr.run.trainer.trainer_adapter import (
    accumulated,
    batches_done,
    batches_of_a_step,
    is_last_batch,
    limited_by_epochs,
    steps_an_epoch,
)


@dataclass
class EpochState:
    """What the last whole epoch showed; plain values, saved whole.

    Attributes:
        length: its optimizer steps; ``None`` before there was one.
        share: its optimizer steps as a share of those that its batches allow; ``None`` likewise, or if the Trainer does
            not know how many batches an epoch has.
        begun_at: step at which the epoch under way began; ``None`` if it was resumed in its midst.
        allowed: optimizer steps that the batches of that epoch allow; infinite if the Trainer cannot count them.
        batches: what decides how many steps the same data are: ranks, accumulated batches, batch size of each loader.
    """

    length: int | None = None
    share: float | None = None
    begun_at: int | None = None
    allowed: float = math.inf
    batches: list[int | None] | None = None


class StepBudget:
    """The budget by epochs and steps.

    Args:
        trainer: at ``on_train_start`` or later.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.state = EpochState(batches=batches_of_a_step(trainer))
        # The Trainer counts the batches of the epoch before until the first batch of this one.
        self._in_epoch = 0 < batches_done(trainer) < trainer.num_training_batches
        self._over = False

    # --- what happens -------------------------------------------------------------------------------------------------

    def epoch_begins(self, steps: int) -> None:
        """Take note that an epoch begins with its first batch.

        Args:
            steps: optimizer steps so far.
        """
        self._in_epoch, self._over = False, False
        self.state.begun_at, self.state.allowed = steps, steps_an_epoch(self.trainer, self.trainer.current_epoch)

    def batch_begins(self) -> None:
        """From now on the Trainer counts the batches of this epoch."""
        self._in_epoch, self._over = True, False

    def epoch_ends(self, steps: int) -> None:
        """Take note that an epoch has ended, and of how long it was, if it was a whole one."""
        begun_at, self._over, self.state.begun_at = self.state.begun_at, True, None
        allowed = steps_an_epoch(self.trainer, self.trainer.current_epoch)
        # Not if the run was stopped in its midst, or resumed there with other data.
        if begun_at is not None and is_last_batch(self.trainer) and allowed == self.state.allowed:
            self.state.length = steps - begun_at
            self.state.share = self.state.length / allowed if math.isfinite(allowed) and allowed else None

    # --- what follows -------------------------------------------------------------------------------------------------

    @property
    def may_be_learned(self) -> bool:
        """Whether the budget becomes known once an epoch is over, if it is not known now."""
        return limited_by_epochs(self.trainer) and self.trainer.current_epoch + 1 < self.trainer.max_epochs

    @property
    def data_may_change(self) -> bool:
        """Whether the next epoch may have another number of batches."""
        return bool(self.trainer.reload_dataloaders_every_n_epochs)

    def budget(self, steps: int) -> int | None:
        """Optimizer steps of the whole run; ``None`` if they are not limited, or not known yet.

        A step is a batch after which the optimizers stepped. In manual optimization ``max_steps`` counts each
        optimizer's step.

        Args:
            steps: those that were taken.
        """
        left = [left for left in (self._left_of_epochs(steps), self._left_of_steps(steps)) if left is not None]
        # A module that optimizes manually may not have stepped in a whole epoch: that tells no budget.
        return (steps + math.ceil(round(min(left), 6)) or None) if left else None

    def _left_of_epochs(self, steps: int) -> float | None:
        trainer, epochs = self.trainer, self.trainer.max_epochs
        if not limited_by_epochs(trainer):
            return None
        epoch = trainer.current_epoch
        changes = any(hasattr(callback, "get_accumulate_grad_batches") for callback in trainer.callbacks)
        later = range(epoch + 1, epochs)
        if changes:
            whole = sum(self._steps_of(other, steps) for other in later)
        else:
            whole = len(later) * self._steps_of(epoch, steps) if later else 0.0
        # While batches are left, the end of the budget has not come.
        left = max(whole + self._left_of_epoch(epoch, steps), 1.0 if later or self._batches_left else 0.0)
        return left if math.isfinite(left) else None

    @property
    def _batches_left(self) -> bool:
        """Whether a batch of the epoch that is under way, or about to begin, is still to come."""
        return not self._over and self._done < self.trainer.num_training_batches

    @property
    def _done(self) -> int:
        return batches_done(self.trainer) if self._in_epoch else 0

    def _left_of_epoch(self, epoch: int, steps: int) -> float:
        """Of the epoch that is under way, or about to begin."""
        if not self._batches_left:
            return 0.0
        if math.isfinite(self.trainer.num_training_batches):
            taken = self._done // accumulated(self.trainer, epoch)
            return (steps_an_epoch(self.trainer, epoch) - taken) * self._share(steps)
        if self.state.begun_at is None:
            return math.inf if self._in_epoch else self._steps_of(epoch, steps)
        return max(0.0, self._steps_of(epoch, steps) - (steps - self.state.begun_at))

    def _steps_of(self, epoch: int, steps: int) -> float:
        """Of a whole epoch; infinite if that is not known."""
        allowed = steps_an_epoch(self.trainer, epoch)
        if math.isfinite(allowed):
            return allowed * self._share(steps)
        return math.inf if self.state.length is None else float(self.state.length)

    def _share(self, steps: int) -> float:
        """How many of the steps that the batches allow are taken."""
        if self.state.share is not None:
            return self.state.share
        if self.trainer.lightning_module.automatic_optimization or not self._in_epoch or self.state.begun_at is None:
            return 1.0
        taken, done = steps - self.state.begun_at, batches_done(self.trainer)
        return taken / done if taken and done else 1.0

    def _left_of_steps(self, steps: int) -> float | None:
        limit = self.trainer.max_steps
        if limit is None or limit < 0:
            return None
        counted = int(self.trainer.global_step)
        left = max(0.0, float(limit) - counted)
        if self.trainer.lightning_module.automatic_optimization:
            return left
        # Before the first step the best guess is that each optimizer takes one.
        return left * steps / counted if steps and counted else left / max(1, len(self.trainer.optimizers))

    # --- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What is known of an epoch, as plain values."""
        return asdict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> bool:
        """Continue from :meth:`state_dict`; returns whether a step is of other batches now.

        The length of an epoch whose batches are not known to the Trainer has to be learned anew then.
        """
        now = self.state.batches
        changed = list(state["batches"]) != now
        self.state = EpochState(**{**state, "batches": now})
        if changed:
            self.state.length = self.state.begun_at = None
        return changed
