"""A cut must survive every scheduler, in a Trainer: each step uses scale × the rate of the run without us."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers.logger import Logger

from lightning_lr import LearningRateController
from lightning_lr.engine.policies import ExponentialPolicy
from tests.helpers.recorded import BATCHES, EPOCHS, Recorder, Small, SmallManual, run
from tests.helpers.schedulers import CASES, SchedulerCase

CUTS = (1, 3, 5, 7)
"""Checks at which the recipe below cuts; after the one of check 3 half of the run is over, where the cosines reach
T_max."""
FACTOR = 0.3  # no power of two: products round

WAYS = (("step", 1, "automatic"), ("epoch", 3, "automatic"), ("step", 3, "manual"), ("epoch", 1, "manual"))
"""Interval, accumulation and optimization: each pair of values once."""
MATRIX = [(case, *way) for case in CASES for way in WAYS]


def named(value: Any) -> str | None:
    return str(value) if isinstance(value, SchedulerCase) else None


def module(case: SchedulerCase, interval: str, accumulation: int, optimization: str) -> Small:
    steps = EPOCHS * (BATCHES // accumulation if interval == "step" else 1)

    def configure(self: Any) -> Any:
        if case.requires:
            pytest.importorskip(case.requires)
        groups = [{"params": [self.layer.weight], "lr": 0.1}, {"params": [self.layer.bias], "lr": 0.02}]
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
        config = {"scheduler": case.build(optimizer, steps), "interval": interval}
        if case.needs_metric and optimization == "automatic":
            config |= {"monitor": "val_score", "reduce_on_plateau": True, "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": config}

    if optimization == "manual":
        return SmallManual(configure, accumulation, interval, case.step)
    return Small(configure)


def recorded(case: SchedulerCase, interval: str, accumulation: int, optimization: str, ours: Any = None) -> Recorder:
    options = {"accumulate_grad_batches": accumulation} if optimization == "automatic" else {}
    if case.needs_metric and interval == "step" and optimization == "automatic":
        options["val_check_interval"] = 1  # where it steps at each batch, there must be a value at each batch
        options["check_val_every_n_epoch"] = 1
    built = module(case, interval, accumulation, optimization)
    return run(built, [ours] if ours else [], ours, **options)


@functools.cache
def reference(case: SchedulerCase, interval: str, accumulation: int, optimization: str) -> list[list[float]]:
    return recorded(case, interval, accumulation, optimization).used


def controller() -> LearningRateController:
    return LearningRateController("val_score", policy=ExponentialPolicy(epochs=2, ratio=FACTOR), verbose=False)


@pytest.mark.parametrize(("case", "interval", "accumulation", "optimization"), MATRIX, ids=named)
@pytest.mark.filterwarnings("ignore:A `OneCycleLR` scheduler is using:RuntimeWarning")
def test_each_step_uses_the_scheduled_rate_times_the_scale(
    case: SchedulerCase, interval: str, accumulation: int, optimization: str
) -> None:
    """To the last rounding, whatever the scheduler computes its next rate from; and it is what was shown before."""
    ours = controller()
    scaled = recorded(case, interval, accumulation, optimization, ours)

    # Without us both ways to train use the same rates, but for a scheduler that asks for a metric at each step.
    plain = reference(case, interval, accumulation, optimization if case.needs_metric else "automatic")
    per_epoch = BATCHES // accumulation
    assert len(scaled.used) == len(plain) == EPOCHS * per_epoch
    if ours.checks_on_train_epoch_end:
        # A schedule that is at 0 leaves nothing to cut.
        expected_cuts = [check for check in CUTS[:-1] if plain[(check + 1) * per_epoch][0] > 0]
        assert [decision.check for decision in ours.decisions if decision.check < CUTS[-1]] == expected_cuts
        products = [
            math.prod(d.factor for d in ours.decisions if d.epoch < step // per_epoch) for step in range(len(plain))
        ]
        assert [scale["lr-SGD/pg1"] for scale in scaled.noted] == pytest.approx(products, rel=1e-12)
    assert ours.decisions
    for step, (rates, wanted, scale) in enumerate(zip(scaled.used, plain, scaled.noted, strict=True)):
        expected = [rate * factor for rate, factor in zip(wanted, scale.values(), strict=True)]
        assert rates == pytest.approx(expected, rel=1e-12, abs=0), f"step {step}"
        assert all(rate > 0 for rate, without in zip(rates, wanted, strict=True) if without > 0), f"step {step}"
    assert scaled.shown[accumulation - 1 :: accumulation] == scaled.used


class Memory(Logger):
    """Keeps what it is given."""

    name, version = "memory", 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append(dict(metrics))

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("case", "each", "ours_first"),
    [(case, *(("epoch", False) if at % 4 == 0 else ("step", True))) for at, case in enumerate(CASES)],
    ids=named,
)
def test_the_monitor_shows_what_the_next_step_uses(case: SchedulerCase, each: str, ours_first: bool) -> None:
    """``LearningRateMonitor`` logs at the start of each batch or epoch; a cut is there at once, under its names."""
    ours, monitor, logger = controller(), LearningRateMonitor(each), Memory()
    both = [ours, monitor] if ours_first else [monitor, ours]
    built = module(case, "epoch" if case.needs_metric else case.interval, 1, "automatic")
    done = run(built, both, ours, logger=logger, log_every_n_steps=1)
    assert list(ours.scale) == ["lr-SGD/pg1", "lr-SGD/pg2"]
    shown = [[row["lr-SGD/pg1"], row["lr-SGD/pg2"]] for row in logger.rows if "lr-SGD/pg1" in row]
    assert shown == (done.used if each == "step" else done.used[::BATCHES])


@pytest.mark.parametrize("what", ["training_step returns None", "on_train_batch_start returns -1"])
@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")
def test_batches_without_a_step_change_nothing(what: str) -> None:
    """No step was made, and the schedule goes on as it does without us."""
    case = next(case for case in CASES if case.name == "CosineAnnealingLR")

    class Skipping(Small):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return None if "None" in what and batch_idx == 1 else super().training_step(batch, batch_idx)

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if "-1" in what and self.current_epoch % 3 == 2 else None

    configure = module(case, "step", 1, "automatic").configure
    ours = controller()
    plain, scaled = run(Skipping(configure)), run(Skipping(configure), [ours], ours)
    assert len(ours.decisions) >= 3
    for rates, wanted, scale in zip(scaled.used, plain.used, scaled.noted, strict=True):
        assert rates == pytest.approx([w * s for w, s in zip(wanted, scale.values(), strict=True)], rel=1e-12)
