"""Decay by a fixed ratio every N epochs."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_lr.engine import text
from lightning_lr.engine.policies.epochs import EpochPolicy, EpochState
from lightning_lr.engine.records import Diagnosis, MetricViews, Reading
from lightning_lr.engine.vocabulary import Condition


@dataclass(frozen=True)
class ExponentialPolicy(EpochPolicy):
    """Decay by a fixed ratio every N epochs, and by its square root once the run has converged.

    Converged means that a plateau was diagnosed; from then on small steps are enough.

    Attributes:
        epochs: epochs from one decay to the next.
        ratio: multiplier of one decay. 0.95 an epoch: a tenth after 45 epochs, the usual setting of ``ExponentialLR``
            in tutorials.
    """

    name: str = "exponential"
    epochs: int = 1
    ratio: float = 0.95

    def propose(
        self, state: EpochState, reading: Reading, views: MetricViews, diagnosis: Diagnosis
    ) -> tuple[float, str]:
        """Decay at the end of each period."""
        state.converged = state.converged or diagnosis.condition is Condition.PLATEAU
        left = self._epochs_left(state, reading)
        if left > 0:
            return 1.0, text.next_decay(left)
        state.since_epoch = reading.epoch + 1
        return self.ratio**0.5 if state.converged else self.ratio, text.decay(state.converged)
