"""A pretrained network is thawed in phases: groups join in mid-run."""

from __future__ import annotations

from typing import Any

import torch
from finetuning_scheduler import FinetuningScheduler, FTSCheckpoint, FTSEarlyStopping
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

PACKAGE = "finetuning-scheduler"
MONITOR, LR, EPOCHS = "val_loss", 1e-2, 15


class Net(LightningModule):
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.body = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU())
        self.head = torch.nn.Linear(32, 1)

    def loss(self, batch: Any) -> torch.Tensor:
        return torch.nn.functional.mse_loss(self.head(self.body(batch[0])), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.SGD(parameters, lr=self.lr, momentum=0.9)


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(900, 8, generator=generator)
    targets = (inputs[:, :1] * inputs[:, 1:2]).sin() + inputs[:, 2:3]
    loaders = [
        DataLoader(TensorDataset(inputs[a:b], targets[a:b]), 32, shuffle=a == 0) for a, b in ((0, 700), (700, 900))
    ]
    phases = [
        FinetuningScheduler(max_depth=1),
        FTSEarlyStopping("val_loss", patience=3),
        FTSCheckpoint(monitor="val_loss"),
    ]
    options = {**options, "callbacks": [*options["callbacks"], *phases], "enable_checkpointing": True}
    Trainer(max_epochs=EPOCHS, **options).fit(Net(lr), *loaders, ckpt_path=ckpt_path)
