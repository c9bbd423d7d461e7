"""A small ResNet tells four textures in images of four bands; the task brings a ReduceLROnPlateau of its own."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset
from torchgeo.trainers import ClassificationTask

PACKAGE = "torchgeo"
MONITOR, LR, EPOCHS = "val_loss", 1e-3, 8


class Textures(Dataset[dict[str, torch.Tensor]]):
    """Waves in one of four directions, under noise."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(0, 4, (count,), generator=generator)
        rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        waves = torch.stack([rows, columns, rows + columns, rows - columns]).mul(1.5).sin()
        self.images = waves[self.labels].unsqueeze(1) + torch.randn(count, 4, 16, 16, generator=generator)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"image": self.images[index], "label": self.labels[index]}


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    task = ClassificationTask(model="resnet10t", in_channels=4, num_classes=4, lr=lr, patience=10)
    loaders = DataLoader(Textures(384, 0), 32, shuffle=True), DataLoader(Textures(192, 1), 96)
    Trainer(max_epochs=EPOCHS, **options).fit(task, *loaders, ckpt_path=ckpt_path, weights_only=False)
