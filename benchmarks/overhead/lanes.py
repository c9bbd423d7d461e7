"""The runs that are compared: one model, one Trainer, and each time another callback."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.overhead.relay import Runner, TimedBatches, relay
from lightning_lr import LearningRateController

EMPTY, AGAIN = "an empty Callback", "an empty Callback, again"
MONITOR = "LearningRateMonitor(step)"
CONSERVATIVE, HOLDING, ANNEALING = "ours, conservative", "ours, auto, holding", "ours, auto, annealing"
PEERS = "EarlyStopping + ReduceLROnPlateau"
LANES = (EMPTY, AGAIN, MONITOR, CONSERVATIVE, HOLDING, ANNEALING, PEERS)

WARMUP = 8
"""Rounds before the first one that is timed: the sweep of ``auto`` and the rise of its curve are over by then."""


class Empty(Callback):
    """Does nothing: what the Trainer's own calls of six hooks a step cost is no one's fault."""


class Boring(LightningModule):
    """One linear layer on one row, as Lightning's own BoringModel: the Trainer's loop is nearly all of a step."""

    def __init__(self, plateau: bool = False) -> None:
        super().__init__()
        self.net: nn.Module = nn.Linear(32, 2)
        self.batch = torch.randn(1, 32)
        self.plateau = plateau

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.loss(batch)}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
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
class Course:
    """How far the runs go.

    Attributes:
        model: what is trained.
        block: steps of one turn, few: then the lanes lie milliseconds apart.
        blocks: turns of one round.
        rounds: pairs of each lane with the baseline.
    """

    model: Callable[[bool], Boring]
    block: int
    blocks: int
    rounds: int
    lanes: Sequence[str] = field(default=LANES)

    @property
    def round(self) -> int:
        """Steps of one round: its blocks, and the one that ends in a check."""
        return self.timed + 1

    @property
    def timed(self) -> int:
        """Those of them that are timed as steps."""
        return self.block * self.blocks


def run(course: Course, seed: int) -> dict[str, Runner]:
    """Train in all lanes, and return their times."""
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        runners = {lane: Runner(lane, lambda r, lane=lane: _fit(r, lane, course, folder)) for lane in course.lanes}
        relay(list(runners.values()), course.rounds * course.blocks, seed)
    return runners


def _fit(runner: Runner, lane: str, course: Course, folder: str) -> None:
    torch.manual_seed(0)
    # All losses are logged, and the learning rate monitored, once in the middle of each round.
    warmup = WARMUP * course.round + course.round // 2
    if lane == ANNEALING:
        warmup += course.rounds * course.round
    steps = warmup + course.rounds * course.round
    model = course.model(lane == PEERS)
    batches = TimedBatches(
        runner,
        model.batch,
        warmup=warmup,
        block=course.block,
        blocks=course.blocks,
        rounds=course.rounds,
        length=2 * steps if lane == HOLDING else steps,
    )
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=callbacks(lane),
        logger=TensorBoardLogger(folder, name=lane),
        log_every_n_steps=course.round,
        val_check_interval=course.round,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, batches, DataLoader([model.batch], batch_size=None))  # type: ignore[arg-type]


def callbacks(lane: str) -> list[Callback]:
    """The callbacks of a lane."""
    if lane == MONITOR:
        return [LearningRateMonitor(logging_interval="step")]
    if lane == PEERS:
        return [EarlyStopping("val_loss", patience=10**9)]
    if lane in (HOLDING, ANNEALING, CONSERVATIVE):
        policy = "conservative" if lane == CONSERVATIVE else "auto"
        # Decisions would change what is compared: patience without end, and nothing to restore.
        return [LearningRateController("val_loss", policy=policy, patience=10**9, verbose=False)]  # type: ignore[arg-type]
    return [Empty()]


def quiet() -> None:
    """One thread, and not a word."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
