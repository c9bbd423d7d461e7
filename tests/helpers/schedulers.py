"""The schedulers that a cut must survive: one table for the plain loop here and for tests that go through a Trainer.

Each case builds a scheduler for an optimizer of any number of groups, so that it does something worth seeing within
``total`` steps: warm-up, turns, milestones and the end of its cycle all lie inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer, lr_scheduler
from torch.optim.swa_utils import SWALR

TOTAL = 24
"""Steps of a run in the table's own scale; a multiple of 4."""


@dataclass(frozen=True)
class SchedulerCase:
    """One scheduler.

    Attributes:
        name: what the test is called.
        build: from the optimizer and the number of scheduler steps to the scheduler.
        interval: how often it is meant to be stepped: "step" or "epoch"; any test may use the other.
        needs_metric: whether ``step`` takes a metric.
        requires: a package that must be installed.
    """

    name: str
    build: Callable[[Optimizer, int], Any]
    interval: str = "epoch"
    needs_metric: bool = False
    requires: str | None = None

    def step(self, scheduler: Any, metric: float = 1.0) -> None:
        """Step it; a metric that never changes makes ``ReduceLROnPlateau`` reduce again and again."""
        if self.needs_metric:
            scheduler.step(metric)
        else:
            scheduler.step()

    def __str__(self) -> str:
        return self.name


def _times(optimizer: Optimizer, factor: float) -> list[float]:
    """The rate of every group times a factor, for arguments that are absolute rates."""
    return [float(group["lr"]) * factor for group in optimizer.param_groups]


def _sequential(optimizer: Optimizer, total: int) -> Any:
    warmup = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=total // 4)
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=total // 2, eta_min=1e-3)
    steps = lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch)
    return lr_scheduler.SequentialLR(optimizer, [warmup, cosine, steps], milestones=[total // 4, 3 * total // 4])


def _chained(optimizer: Optimizer, total: int) -> Any:
    exponential = lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    return lr_scheduler.ChainedScheduler([lr_scheduler.ConstantLR(optimizer, 0.5, total // 4), exponential], optimizer)


def _hugging_face(optimizer: Optimizer, total: int) -> Any:
    from transformers import get_cosine_schedule_with_warmup

    return get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=total // 4, num_training_steps=total)


def _cyclic(optimizer: Optimizer, total: int) -> Any:
    low, high = _times(optimizer, 0.1), _times(optimizer, 1.0)
    return lr_scheduler.CyclicLR(optimizer, low, high, step_size_up=total // 4, cycle_momentum=False)


def _one_cycle(optimizer: Optimizer, total: int) -> Any:
    return lr_scheduler.OneCycleLR(optimizer, max_lr=_times(optimizer, 2.0), total_steps=total + 1)


CASES = (
    SchedulerCase("StepLR", lambda o, t: lr_scheduler.StepLR(o, step_size=t // 4, gamma=0.3)),
    SchedulerCase("MultiStepLR", lambda o, t: lr_scheduler.MultiStepLR(o, [t // 3, t // 2], gamma=0.1)),
    SchedulerCase("ExponentialLR", lambda o, t: lr_scheduler.ExponentialLR(o, gamma=0.9)),
    SchedulerCase("ConstantLR", lambda o, t: lr_scheduler.ConstantLR(o, factor=0.25, total_iters=t // 2)),
    SchedulerCase("LinearLR", lambda o, t: lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=t // 2)),
    SchedulerCase("PolynomialLR", lambda o, t: lr_scheduler.PolynomialLR(o, total_iters=t, power=2.0)),
    SchedulerCase("MultiplicativeLR", lambda o, t: lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.95)),
    # Runs past T_max, where it turns; a plain cut at T_max makes the rate of the second one negative.
    SchedulerCase("CosineAnnealingLR to 0", lambda o, t: lr_scheduler.CosineAnnealingLR(o, T_max=t // 2)),
    SchedulerCase("CosineAnnealingLR", lambda o, t: lr_scheduler.CosineAnnealingLR(o, T_max=t // 2, eta_min=1e-3)),
    SchedulerCase(
        "CosineAnnealingWarmRestarts",
        lambda o, t: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=t // 4, T_mult=2, eta_min=1e-4),
        interval="step",
    ),
    SchedulerCase("LambdaLR", lambda o, t: lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch))),
    SchedulerCase("OneCycleLR", _one_cycle, interval="step"),
    SchedulerCase("CyclicLR", _cyclic, interval="step"),
    SchedulerCase("SequentialLR", _sequential),
    SchedulerCase("ChainedScheduler", _chained),
    SchedulerCase(
        "ReduceLROnPlateau",
        lambda o, t: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=3, min_lr=1e-3),
        needs_metric=True,
    ),
    SchedulerCase("transformers cosine with warm-up", _hugging_face, interval="step", requires="transformers"),
    SchedulerCase("SWALR", lambda o, t: SWALR(o, swa_lr=_times(o, 0.5), anneal_epochs=t // 2)),
)
