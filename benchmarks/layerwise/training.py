"""One run: a Trainer, twenty steps of warm-up, a linear decay over the last half, and the callback or not."""

from __future__ import annotations

import logging
import math
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.any_start.tasks import Task
from benchmarks.any_start.training import _evaluate, _trainer, load
from lightning_lr import LayerwiseLearningRate

Record = dict[str, Any]

METHODS: dict[str, dict[str, Any] | None] = {
    "without": None,
    "layerwise": {},
    "hypergradient alone": {"trust": None},
    "trust ratio alone": {"step": 0.0},
    "LARS/LAMB": {"step": 0.0, "trust": 1.0},
}
"""What the callback is given. With a band of width 1 every layer is moved to the same trust ratio."""


class Learner(pl.LightningModule):
    """An ordinary module with a schedule of its own."""

    def __init__(self, task: Task, model: torch.nn.Module, lr: float, steps: int) -> None:
        super().__init__()
        self.task, self.model, self.lr, self.steps = task, model, lr, steps

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs)  # type: ignore[no-any-return]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.loss(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        task, steps = self.task, self.steps
        optimizer: Any = (
            torch.optim.SGD(self.parameters(), self.lr, momentum=0.9, weight_decay=task.weight_decay)
            if task.optimizer == "sgd"
            else torch.optim.AdamW(self.parameters(), self.lr, weight_decay=task.weight_decay)
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / 20) * min(1.0, 2 * (1 - step / steps))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train(task: Task, method: str, start: float, seed: int, folder: Path | None) -> Record:
    """Train, and say how it ended."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    begun = time.perf_counter()
    loaded = load(task, folder)
    torch.manual_seed(seed)
    steps = task.epochs * task.steps_per_epoch(loaded)
    learner = Learner(task, task.model(loaded), task.lr * start, steps)
    loader = task.train_loader(loaded, seed)
    torch.manual_seed(seed + 1)
    options = METHODS[method]
    layerwise = None if options is None else LayerwiseLearningRate(**options)
    trainer = _trainer(max_epochs=task.epochs, callbacks=[] if layerwise is None else [layerwise])
    trainer.fit(learner, loader)
    ended, tested = _evaluate(learner, task.loader(loaded.validation)), _evaluate(learner, task.loader(loaded.test))  # type: ignore[arg-type]
    return {
        "task": task.name,
        "method": method,
        "start": start,
        "seed": seed,
        "val_loss": _plain(ended[0]),
        "test_loss": _plain(tested[0]),
        "test_acc": tested[1],
        "steps": trainer.global_step,
        "multipliers": {} if layerwise is None else {k: round(v, 3) for k, v in layerwise.multipliers.items()},
        "seconds": round(time.perf_counter() - begun, 1),
    }


def _plain(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
