"""Image classification with a cosine schedule: the schedule stays, the callback multiplies it where something is wrong.

    python examples/image_classification.py

scikit-learn's digits stand in for a larger data set; nothing is downloaded.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController


class ImageClassifier(pl.LightningModule):
    """A small convolutional network with batch norm."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
            *(nn.Flatten(), nn.Linear(32, 10)),
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self.net(images)
        self.log("val_loss", F.cross_entropy(logits, labels))
        self.log("val_acc", (logits.argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams["lr"], momentum=0.9, weight_decay=5e-4)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def loaders() -> tuple[DataLoader, DataLoader]:
    """1200 training images and 597 validation images of 8 × 8 pixels."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(digits.images, dtype=torch.float32)[order, None] / 16
    labels = torch.tensor(digits.target)[order]
    train = DataLoader(TensorDataset(images[:1200], labels[:1200]), 64, shuffle=True)
    return train, DataLoader(TensorDataset(images[1200:], labels[1200:]), 256)


def main() -> None:
    """Train, and print the result with the decisions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--folder", type=Path, default=Path("runs/images"), help="for logs and checkpoints")
    options = parser.parse_args()

    pl.seed_everything(0)
    controller = LearningRateController(monitor="val_loss")
    trainer = pl.Trainer(
        max_epochs=options.epochs,
        accelerator="auto",
        default_root_dir=options.folder,
        logger=TensorBoardLogger(options.folder, name=""),
        callbacks=[controller, LearningRateMonitor("step"), ModelCheckpoint(monitor="val_loss")],
        enable_progress_bar=False,
    )
    trainer.fit(ImageClassifier(options.lr), *loaders())
    metrics = trainer.callback_metrics
    print(f"validation loss {float(metrics['val_loss']):.3f}, accuracy {float(metrics['val_acc']):.1%}")
    print(f"decisions: {[str(decision.condition) for decision in controller.decisions] or 'none'}")


if __name__ == "__main__":
    main()
