"""Train on scikit-learn's digits, with a third of the labels wrong, from a learning rate ten times too high.

Run it with ``make quickstart``, or, if the package is installed, with ``python examples/quickstart.py``.
The one line that matters is the callback in ``Trainer(callbacks=[...])``; the rest is an ordinary Lightning program.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController

TEN_TIMES_TOO_HIGH = 1.0


class DigitClassifier(pl.LightningModule):
    """A plain multilayer perceptron under SGD with momentum."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))

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

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def digits_with_wrong_labels(share: float = 0.3) -> tuple[DataLoader, DataLoader]:
    """Loaders of 1200 training images, a share of them with a random label, and of 597 clean validation images."""
    digits = load_digits()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(digits.target), generator=generator)
    images = torch.tensor(digits.data, dtype=torch.float32)[order] / 16
    labels = torch.tensor(digits.target)[order]
    wrong = torch.rand(1200, generator=generator) < share
    train_labels = torch.where(wrong, torch.randint(0, 10, (1200,), generator=generator), labels[:1200])
    train = DataLoader(TensorDataset(images[:1200], train_labels), 32, shuffle=True, generator=generator)
    return train, DataLoader(TensorDataset(images[1200:], labels[1200:]), 597)


def quiet() -> None:
    """Keep Lightning's advice out of the way of the decisions; the decisions are printed by the same logger."""
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    # Where the older package is installed as well, what either says goes through the logger of the newer import.
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(lambda record: "lightning_lr" in record.getMessage())


def show_how_to_look(console: Console, folder: Path) -> None:
    """Print the command that shows the run, with the path of this environment's TensorBoard."""
    program = Path(sys.executable).with_name("tensorboard")
    here = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    console.print("\nEach decision with its reason, in the tab Learning rate (http://localhost:6006/#lightning_lr):\n")
    console.print(f"    {here} --logdir {folder}\n", soft_wrap=True, highlight=False)


def closing_table(controller: LearningRateController) -> Table:
    """What was decided, one line a decision."""
    table = Table("epoch", "condition", "action", "learning rate", title="decisions")
    for decision in controller.decisions:
        changes = [f"{decision.old_lr[name]:.3g} → {new:.3g}" for name, new in decision.new_lr.items()]
        condition = "" if decision.condition == "healthy" else str(decision.condition)
        action = "search" if decision.action == "explore" else str(decision.action)
        table.add_row(str(decision.epoch), condition, action, ", ".join(changes))
    return table


def main() -> None:
    """Train, and say what to type to look at the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lr", type=float, default=TEN_TIMES_TOO_HIGH, help="the learning rate to start from")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--folder", type=Path, default=Path("demo_runs"), help="where the run is written")
    parser.add_argument("--figure", type=Path, help="draw the run into this file as well")
    options = parser.parse_args()

    console = Console()
    quiet()
    torch.set_num_threads(1)  # the matrices are so small that a second thread only costs
    pl.seed_everything(0)
    train, validation = digits_with_wrong_labels()
    controller = LearningRateController(monitor="val_loss")
    trainer = pl.Trainer(
        max_epochs=options.epochs,
        accelerator="cpu",
        callbacks=[controller],
        logger=TensorBoardLogger(options.folder, name=""),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    console.print(f"training from a learning rate of {options.lr:g}, which is ten times too high ...")
    trainer.fit(DigitClassifier(options.lr), train, validation)

    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    console.print(closing_table(controller))
    console.print(f"validation loss {metrics['val_loss']:.3f}, accuracy {metrics['val_acc']:.1%}")
    journal = Path(trainer.log_dir) / "lr_journal.jsonl"
    if options.figure:
        from lightning_lr.offline.logs.journal_reader import read_journal
        from lightning_lr.offline.report.figure import draw

        draw(read_journal(journal).lines).savefig(options.figure, dpi=120)
        console.print(f"figure: {options.figure}")
    show_how_to_look(console, options.folder)


if __name__ == "__main__":
    main()
