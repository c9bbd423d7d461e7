"""LoRA on a frozen network: few parameters train, the rest stays."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader, TensorDataset

PACKAGE = "peft"
MONITOR, LR, EPOCHS = "val_loss", 3e-3, 12


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = torch.nn.Linear(16, 64), torch.nn.Linear(64, 64), torch.nn.Linear(64, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(inputs).relu()).relu())


class Lora(LightningModule):
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.net = get_peft_model(Net(), LoraConfig(r=8, target_modules=["first", "second"], modules_to_save=["head"]))

    def loss(self, batch: Any) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=self.lr)


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1200, 16, generator=generator)
    labels = (inputs[:, 0] * inputs[:, 1] > 0).long() + 2 * (inputs[:, 2] > inputs[:, 3]).long()
    loaders = [
        DataLoader(TensorDataset(inputs[a:b], labels[a:b]), 32, shuffle=a == 0) for a, b in ((0, 900), (900, 1200))
    ]
    Trainer(max_epochs=EPOCHS, **options).fit(Lora(lr), *loaders, ckpt_path=ckpt_path)
