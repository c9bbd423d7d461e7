"""Train on scikit-learn's digits with as many processes as a launcher starts; start it again, and it goes on.

The same file serves every launcher, and nothing in it is there for the callback's sake but the callback:

    python examples/cluster/train.py --devices 2    # one machine: Lightning starts the processes
    examples/cluster/torchrun.sh                    # one or several machines, restarted where one fails
    sbatch examples/cluster/slurm.sh                # a SLURM job that requeues itself before its time is up

docs/cluster.md says what to expect of each.
"""

from __future__ import annotations

import argparse
import os
from datetime import timedelta
from pathlib import Path

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from requeue import RequeueBetweenBatches
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController


class DigitClassifier(pl.LightningModule):
    """A plain multilayer perceptron under SGD with momentum; the rate is a hundred times too low, to be found."""

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self.net(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        # No sync_dist is needed for the callback: it averages over the ranks by itself.
        self.log("val_loss", F.cross_entropy(self.net(images), labels), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


class Digits(pl.LightningDataModule):
    """1200 images to train on, 597 to validate on; Lightning deals them out to the ranks."""

    def setup(self, stage: str) -> None:
        digits = load_digits()
        order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
        images = torch.tensor(digits.data, dtype=torch.float32)[order] / 16
        labels = torch.tensor(digits.target)[order]
        self.train = TensorDataset(images[:1200], labels[:1200])
        self.validation = TensorDataset(images[1200:], labels[1200:])

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, 32, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.validation, 256)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/cluster"), help="on a disk that every machine sees")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--devices", type=int, default=1, help="processes on each machine; torchrun knows it itself")
    parser.add_argument("--nodes", type=int, default=1, help="machines; torchrun knows it itself")
    parser.add_argument("--timeout", type=float, default=300, help="seconds after which a silent rank is an error")
    return parser.parse_args()


def trainer_for(options: argparse.Namespace) -> pl.Trainer:
    """The Trainer that every launcher of this folder uses."""
    return pl.Trainer(
        accelerator="auto" if torch.cuda.is_available() else "cpu",
        # What torchrun found outranks the options: after an elastic restart there may be fewer machines than before.
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", options.devices)),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", options.nodes)),
        strategy=DDPStrategy(timeout=timedelta(seconds=options.timeout)),
        max_epochs=options.epochs,
        default_root_dir=options.folder,
        # One folder for the whole run, however often it is started again.
        logger=TensorBoardLogger(options.folder, name="", version="tensorboard"),
        callbacks=[
            LearningRateController(monitor="val_loss"),
            ModelCheckpoint(options.folder / "checkpoints", save_last=True),
            RequeueBetweenBatches(),  # for SLURM; nothing happens elsewhere
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def newest_checkpoint(folder: Path) -> Path | None:
    """What was written last: at the end of an epoch, or by Lightning when SLURM announced the end of the job.

    (``ckpt_path="last"`` overlooks the second kind, and ``ckpt_path=None`` takes it even where the first is newer.)
    """
    found = [*folder.glob("checkpoints/last*.ckpt"), *folder.glob("hpc_ckpt_*.ckpt")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def main() -> None:
    options = arguments()
    pl.seed_everything(0)
    torch.set_num_threads(1)  # the matrices are so small that a second thread only costs
    trainer = trainer_for(options)
    trainer.fit(DigitClassifier(), Digits(), ckpt_path=newest_checkpoint(options.folder))
    if trainer.is_global_zero:
        print(
            f"validation loss {float(trainer.callback_metrics['val_loss']):.4f}; tensorboard --logdir {options.folder}"
        )


if __name__ == "__main__":
    main()
