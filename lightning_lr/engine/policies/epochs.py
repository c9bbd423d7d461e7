"""What the two policies share that count epochs, and react to no condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_lr.engine.policies.policy import Policy
from lightning_lr.engine.records import Diagnosis, MetricViews, Reading
from lightning_lr.errors import ArgumentError, check_integer, check_number

REMEDIES: Mapping[str, str] = {
    "patience": "A recipe moves after a fixed time: say `epochs`.",
    "factor": "A recipe multiplies by `ratio`: say that.",
    "restore_best": "A recipe restores nothing: leave it out, or choose policy='auto'.",
    "cooldown": "A recipe moves after a fixed time: leave it out, and say `epochs`.",
    "warmup_checks": "A recipe moves after a fixed time: leave it out, and say `epochs`.",
    "check_every_n_steps": "A recipe moves at the ends of epochs: leave it out.",
    "responses": "A recipe reacts to no condition: leave them out, or make a Policy of them.",
}
"""Arguments that have no meaning for a policy that counts epochs → what to do instead."""


def refuse_for_epochs(policy: Policy, **given: Any) -> None:
    """Refuse arguments that a policy that counts epochs would ignore; ``None`` is none.

    Raises:
        ArgumentError: for the first that was given.
    """
    for name, value in given.items():
        if value is not None and isinstance(policy, EpochPolicy):
            raise ArgumentError(f"Expected no `{name}` with policy {policy.name!r} but got {value!r}. {REMEDIES[name]}")


@dataclass
class EpochState:
    """How far such a policy is; plain values, saved whole.

    Attributes:
        since_epoch: first epoch of the running period.
        best_before: oriented best when the period began; ``None`` in the first period.
        well: how many periods in a row have performed well (halving).
        converged: whether there was a plateau (exponential).
    """

    since_epoch: int = 0
    best_before: float | None = None
    well: int = 0
    converged: bool = False


@dataclass(frozen=True)
class EpochPolicy(Policy):
    """Changes the rate after a number of epochs; conditions are recorded, and nothing is done about them.

    Attributes:
        epochs: epochs of one period, ≥ 1.
        ratio: multiplier of one change, above 0 and below 1.

    Raises:
        ArgumentError: if a number cannot work, or an argument has no meaning here.
    """

    epochs: int = 1
    ratio: float = 0.5

    def __post_init__(
        self,
        patience: int | None,
        factor: float | None,
        restore_best: bool | None,
        min_plateau_fraction: float | None,
    ) -> None:
        super().__post_init__(patience, factor, restore_best, min_plateau_fraction)
        check_integer("epochs", self.epochs, 1)
        check_number("ratio", self.ratio, above=0.0, below=1.0)
        self._refuse_unused(responses=self.responses or None, warmup_checks=self.warmup_checks or None)

    def _refuse_unused(self, **unused: Any) -> None:
        refuse_for_epochs(self, **unused)

    def propose(
        self, state: EpochState, reading: Reading, views: MetricViews, diagnosis: Diagnosis
    ) -> tuple[float, str]:
        """The factor at this check, 1.0 to hold, and why; takes note of the check in ``state``."""
        raise NotImplementedError

    def _epochs_left(self, state: EpochState, reading: Reading) -> int:
        return state.since_epoch + self.epochs - (reading.epoch + 1)
