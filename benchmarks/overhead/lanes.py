"""The runs that are measured: one model, one Trainer, and each time another callback."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import thread_time
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.overhead.sides import Empty, Sides, Switches, with_and_without
from lightning_lr import LearningRateController

EMPTY, AGAIN = "an empty Callback", "an empty Callback, again"
MONITOR = "LearningRateMonitor(step)"
CONSERVATIVE, HOLDING = "ours, conservative", "ours, auto, holding"
ANNEALING, ENDING = "ours, auto, annealing a long run", "ours, auto, the last 2000 steps"
PEERS = "EarlyStopping + ReduceLROnPlateau"
LANES = (AGAIN, MONITOR, CONSERVATIVE, HOLDING, ANNEALING, ENDING, PEERS)
OURS = (CONSERVATIVE, HOLDING, ANNEALING, ENDING)

PHASES = {HOLDING: "holding", ANNEALING: "annealing", ENDING: "annealing"}
"""Where a run has to be before it is timed."""

LONG, LAST = 100_000, 1950
"""Steps of a run that is annealed, and those that are left when the last ones are timed."""

JUMPS = {ANNEALING: LONG // 2, ENDING: LONG - LAST}
"""Steps that such a run believes to have made once it is warm: to train so far would take all the time."""

WARMUP = 8
"""Turns before the first one that is timed, at the least."""


class Boring(LightningModule):
    """One linear layer on one row, as Lightning's own BoringModel: the Trainer's loop is nearly all of a step."""

    def __init__(self, plateau: bool = False) -> None:
        super().__init__()
        self.net: nn.Module = nn.Linear(32, 2)
        self.batch = torch.randn(1, 32)
        self.plateau, self.validations = plateau, 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.loss(batch)}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validations += 1
        self.log("val_loss", self.loss(batch))

    def loss(self, batch: Any) -> Any:
        """Distance to one: what falls to zero would end in denormal numbers, which are slow."""
        outputs = self.net(batch)
        return nn.functional.mse_loss(outputs, torch.ones_like(outputs))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        if not self.plateau:
            return optimizer
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=10**9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}


class Convolutional(Boring):
    """Three convolutions with batch norm on images of 28 × 28, AdamW: a small model of the usual kind."""

    def __init__(self, plateau: bool = False) -> None:
        super().__init__(plateau)
        layers: list[nn.Module] = []
        for before, after in ((1, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16, 10))
        self.batch = torch.randn(16, 1, 28, 28)


@dataclass(frozen=True)
class LRSchedule:
    """How far the runs go.

    Attributes:
        model: what is trained.
        block: timed steps of one turn.
        rounds: turns of each side.
        trainer: further arguments of the Trainer.
        clock: what the times are read from.
    """

    model: Callable[[bool], Boring]
    block: int
    rounds: int
    trainer: Mapping[str, Any] = field(default_factory=lambda: {"accelerator": "cpu"})
    clock: Callable[[], float] = thread_time


def run(
    lane: str, lr_schedule: LRSchedule, switches: Switches = with_and_without, theirs: Sequence[Callback] | None = None
) -> Sides:
    """Train, with the callbacks of a lane, or those given, and without them in turn, and return the times."""
    quiet()
    torch.manual_seed(0)
    turn = lr_schedule.block + 2
    timed = 2 * lr_schedule.rounds * turn
    if lane == ENDING and timed > LAST:
        raise ValueError(f"{timed} steps are more than the last {LAST}: ask for fewer rounds")
    model, theirs = lr_schedule.model(lane == PEERS), callbacks(lane) if theirs is None else theirs
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            **lr_schedule.trainer,
            max_epochs=1,
            callbacks=list(theirs),
            logger=TensorBoardLogger(folder, name=lane),
            log_every_n_steps=turn // 2,  # all losses are logged, and the learning rate monitored, once in each block
            val_check_interval=turn,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        sides = Sides(
            trainer,
            model,
            theirs,
            ready=lambda: model.validations >= WARMUP and _brought_there(theirs[0], lane),
            block=lr_schedule.block,
            rounds=lr_schedule.rounds,
            length=LONG if lane in JUMPS else 12 * timed,  # that one explores a part of it, and then holds all the time
            switches=switches,
            clock=lr_schedule.clock,
        )
        trainer.fit(model, sides, DataLoader([model.batch], batch_size=None))  # type: ignore[arg-type]
    return sides


def _brought_there(callback: Any, lane: str) -> bool:
    """Whether a run has come to what is to be timed; where that is far away it is taken there."""
    if lane in JUMPS and _phase(callback) == "holding":
        callback._fit_run.lr_schedule.steps = JUMPS[lane]
    return _phase(callback) == PHASES.get(lane)


def _phase(callback: Any) -> str | None:
    """Where a run of ours is; ``None`` for all others, and where it neither explores nor follows a curve."""
    lr_schedule = (
        callback._fit_run.lr_schedule if isinstance(callback, LearningRateController) and callback._fit_run else None
    )
    if lr_schedule is None or (lr_schedule.curve is None and not lr_schedule.searches):
        return None
    if lr_schedule.searches:
        return "explores"
    return (
        "annealing"
        if lr_schedule.annealing
        else "holding"
        if lr_schedule.curve.at(lr_schedule.steps) == 1
        else "rising"
    )


def callbacks(lane: str) -> list[Callback]:
    """The callbacks of a lane."""
    if lane == MONITOR:
        return [LearningRateMonitor(logging_interval="step")]
    if lane == PEERS:
        return [EarlyStopping("val_loss", patience=10**9)]
    return [LearningRateController("val_loss", **arguments(lane))] if lane in OURS else [Empty()]


def arguments(lane: str) -> dict[str, Any]:
    """How ours is asked for in a lane."""
    return {
        "policy": "conservative" if lane == CONSERVATIVE else "auto",
        "find_lr": False if lane in JUMPS else "auto",
        "patience": 10**9,  # decisions would change what is compared, and restoring takes its time
        "verbose": False,
    }


def quiet() -> None:
    """One thread, and not a word."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
