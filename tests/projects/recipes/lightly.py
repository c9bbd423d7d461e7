"""SimSiam on pictures made of stripes: no validation, the loss of two views alone."""

from __future__ import annotations

from typing import Any

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

PACKAGE = "lightly"
MONITOR, SCORE, LR, EPOCHS = None, "train_loss_ssl", 0.06, 12


class SimSiam(LightningModule):
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.backbone = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64))
        self.projection = SimSiamProjectionHead(64, 64, 32)
        self.prediction = SimSiamPredictionHead(32, 16, 32)
        self.criterion = NegativeCosineSimilarity()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        (pictures,) = batch
        views = [pictures + 0.2 * torch.randn_like(pictures) for _ in range(2)]
        one, other = (self.projection(self.backbone(view)) for view in views)
        loss = self.criterion(self.prediction(one), other.detach()) + self.criterion(
            self.prediction(other), one.detach()
        )
        self.log("train_loss_ssl", 0.5 * loss, on_step=False, on_epoch=True)
        return 0.5 * loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    generator = torch.Generator().manual_seed(0)
    waves = torch.rand(640, 1, generator=generator) * 3 * torch.arange(64) / 4
    loader = DataLoader(TensorDataset(waves.sin()), 64, shuffle=True)
    Trainer(max_epochs=EPOCHS, **options).fit(SimSiam(lr), loader, ckpt_path=ckpt_path)
