"""A tiny model whose metrics are what a test says, and a quiet Trainer; five epochs take a tenth of a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_lr import LearningRateController
from lightning_lr.engine.policies import ExponentialPolicy

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


def data(batches: int = 2, batch_size: int = 4, shuffle: bool = False) -> DataLoader:
    """Always the same numbers."""
    inputs = torch.linspace(-1, 1, batches * batch_size * 4).sin().reshape(-1, 4)
    return DataLoader(TensorDataset(inputs), batch_size=batch_size, shuffle=shuffle)


class Endless(IterableDataset):
    """Items without a length; as many as the Trainer's limits ask for."""

    def __iter__(self) -> Any:
        return iter(torch.linspace(-1, 1, 64).sin().reshape(-1, 1, 4))


class Scripted(LightningModule):
    """Logs the next scripted value of each metric at each validation; trains a linear layer meanwhile.

    Args:
        script: metric → its values, one a validation; the last one is repeated. Empty: validation logs nothing.
        training: the same for values that ``training_step`` logs on each step, one an epoch.
        lr: of SGD.
    """

    def __init__(
        self,
        script: Mapping[str, Sequence[float]] | None = None,
        training: Mapping[str, Sequence[float]] | None = None,
        lr: float = 0.1,
    ) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.script = {"val_loss": [1.0 - 0.05 * i for i in range(20)]} if script is None else script
        self.training_script = training or {}
        self.lr = lr
        self.validations = 0
        self.used: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        for name, values in self.training_script.items():
            self.log(name, _at(values, self.current_epoch), on_step=False, on_epoch=True)
        return self.layer(batch[0] if isinstance(batch, list) else batch).pow(2).mean()

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.used.append(float(optimizer.param_groups[0]["lr"]))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        for name, values in self.script.items():
            value = 0.123 if self.trainer.sanity_checking else _at(values, self.validations)
            self.log(name, torch.tensor(float(value)), on_epoch=True)

    def on_validation_epoch_end(self) -> None:
        self.validations += not self.trainer.sanity_checking

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def _at(values: Sequence[float], index: int) -> float:
    return values[min(index, len(values) - 1)]


def trainer(callbacks: Any, folder: Path | None = None, **options: Any) -> Trainer:
    """A quiet Trainer on one CPU; ``folder`` is its ``default_root_dir``."""
    return Trainer(callbacks=callbacks, **{**QUIET, "default_root_dir": folder, **options})


def eager(monitor: str | Sequence[str] = "val_loss", ratio: float = 0.5, **arguments: Any) -> LearningRateController:
    """A controller that multiplies the rate at every check, whatever the detectors find."""
    plain = {"policy": ExponentialPolicy(ratio=ratio), "verbose": False}
    return LearningRateController(monitor, **{**plain, **arguments})
