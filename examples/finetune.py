"""Fine-tune a pretrained network: a small learning rate for the backbone, a larger one for the new head.

    python examples/finetune.py

The network is pretrained on the digits 0 to 4 and fine-tuned on 5 to 9, of which there are few: it overfits soon.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController


class FineTuned(pl.LightningModule):
    """A backbone that may be pretrained, and a head."""

    def __init__(self, backbone: nn.Module, backbone_lr: float, head_lr: float) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(128, 5)
        self.backbone_lr, self.head_lr = backbone_lr, head_lr

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.head(self.backbone(batch[0])), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self.head(self.backbone(batch[0])), batch[1]), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            [
                {"params": self.backbone.parameters(), "lr": self.backbone_lr, "name": "backbone"},
                {"params": self.head.parameters(), "lr": self.head_lr, "name": "head"},
            ]
        )


def loaders(classes: range, most: int) -> tuple[DataLoader, DataLoader]:
    """Loaders of the digits of some classes, numbered from 0; at most this many to train on."""
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16
    labels = torch.tensor(digits.target) - classes.start
    chosen = torch.nonzero((labels >= 0) & (labels < len(classes)))[:, 0]
    chosen = chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))]
    train, held_out = chosen[:most], chosen[600:]
    return (
        DataLoader(TensorDataset(images[train], labels[train]), 16, shuffle=True),
        DataLoader(TensorDataset(images[held_out], labels[held_out]), 512),
    )


def trainer_for(folder: Path, epochs: int, callbacks: list[pl.Callback]) -> pl.Trainer:
    """The Trainer of both stages."""
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="auto",
        default_root_dir=folder,
        logger=TensorBoardLogger(folder, name=""),
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=5,
    )


def main() -> None:
    """Pretrain, fine-tune, and print what became of the two learning rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30, help="of the fine-tuning")
    parser.add_argument("--folder", type=Path, default=Path("runs/finetune"))
    options = parser.parse_args()

    pl.seed_everything(0)
    backbone = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
    pretrained = FineTuned(backbone, backbone_lr=1e-3, head_lr=1e-3)
    trainer_for(options.folder / "pretrained", 5, []).fit(pretrained, *loaders(range(5), most=600))

    # The learning rates are deliberate, so they are not searched; each group has a bound of its own.
    controller = LearningRateController(monitor="val_loss", find_lr=False, max_lr=[1e-3, 1e-2])
    trainer = trainer_for(options.folder / "finetuned", options.epochs, [controller])
    trainer.fit(FineTuned(backbone, backbone_lr=1e-4, head_lr=3e-3), *loaders(range(5, 10), most=80))
    print(f"validation loss {float(trainer.callback_metrics['val_loss']):.3f}")
    print("scale of each group:", {name: float(f"{scale:.3g}") for name, scale in controller.scale.items()})


if __name__ == "__main__":
    main()
