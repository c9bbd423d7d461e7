"""Everything that a run of the core is configured with, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_lr.engine.detectors import Detector
from lightning_lr.engine.policies.policy import PRESETS, Policy
from lightning_lr.engine.vocabulary import Mode, Vote


@dataclass(frozen=True)
class Settings:
    """Settings of the core, already checked and in their final types.

    Attributes:
        monitors: metric names; the first one's best state is what a restore brings back.
        mode: direction in which they are better.
        policy: what is done about each condition.
        train_monitor: logged metric that stands for training; ``None`` for the loss of ``training_step``.
        vote: how many monitors must agree.
        min_delta: least absolute change that counts as improvement, ≥ 0.
        rel_delta: least change relative to |best|, ≥ 0. 1e-3: ten times torch's, below what anyone would report.
        cooldown: checks after an adjustment without another.
        warmup_checks: checks at the start without an adjustment.
        min_lr: lower bound of the applied learning rate, one number or one a parameter group.
        max_lr: upper bound, likewise; ``None`` for none.
        detectors: the user's own, beside the built-in ones.
    """

    monitors: tuple[str, ...] = ("val_loss",)
    mode: Mode = Mode.MIN
    policy: Policy = PRESETS["auto"]
    train_monitor: str | None = None
    vote: Vote = Vote.MAJORITY
    min_delta: float = 0.0
    rel_delta: float = 1e-3
    cooldown: int = 0
    warmup_checks: int = 0
    min_lr: float | tuple[float, ...] = 0.0
    max_lr: float | tuple[float, ...] | None = None
    detectors: tuple[Detector, ...] = ()

    def bounds(self, group: int) -> tuple[float, float | None]:
        """Lower and upper bound of one parameter group; a list that is too short serves with its last number.

        >>> Settings(min_lr=(1e-4, 1e-5)).bounds(1)
        (1e-05, None)
        """
        low = self.min_lr[min(group, len(self.min_lr) - 1)] if isinstance(self.min_lr, tuple) else self.min_lr
        high = self.max_lr[min(group, len(self.max_lr) - 1)] if isinstance(self.max_lr, tuple) else self.max_lr
        return low, high
