"""One line, any start: digits from a learning rate a hundred times too low, right, and a hundred times too high.

Run it with ``make demo``, or, where the package is installed, with ``python examples/any_start.py``. Each run is the
ordinary Lightning program of ``quickstart.py``, on clean labels, with ``callbacks=[LearningRateController()]``; beside
each stands its twin without the callback.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import matplotlib
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table

from lightning_lr import LearningRateController

sys.path.insert(0, str(Path(__file__).parent))
from quickstart import DigitClassifier, digits_with_wrong_labels, quiet, show_how_to_look

matplotlib.use("Agg")

RIGHT = 0.1
STARTS = {"100 times too low": RIGHT / 100, "right": RIGHT, "100 times too high": RIGHT * 100}
LINES = (("tab:blue", 7.0), ("tab:green", 4.0), ("tab:red", 1.3))  # wide below narrow: the curves lie upon each other


class Curve(pl.Callback):
    """Keeps what the figure shows: the validation loss of each epoch, and the learning rate of each step."""

    def __init__(self) -> None:
        self.losses: list[tuple[int, float]] = []
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if not trainer.sanity_checking:
            self.losses.append((trainer.global_step, float(trainer.callback_metrics["val_loss"])))


def train(lr: float, epochs: int, folder: Path, controlled: bool) -> tuple[Curve, pl.Trainer, float]:
    """One run; returns its curve, its Trainer, and the validation loss of the weights that it ended with."""
    pl.seed_everything(0, verbose=False)
    training, validation = digits_with_wrong_labels(share=0.0)
    curve = Curve()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[LearningRateController(monitor="val_loss"), curve] if controlled else [curve],
        logger=TensorBoardLogger(folder, name=f"start_{lr:g}") if controlled else False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    module = DigitClassifier(lr)
    trainer.fit(module, training, validation)
    (ended,) = trainer.validate(module, validation, verbose=False)
    return curve, trainer, ended["val_loss"]


def draw(curves: dict[str, tuple[Curve, Curve]], target: Path) -> None:
    """Validation loss above, learning rate below; dashed without the callback."""
    from matplotlib import pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, height_ratios=(3, 2), layout="constrained")
    for (colour, width), (start, (ours, plain)) in zip(LINES, curves.items(), strict=True):
        above.plot(*zip(*ours.losses, strict=True), color=colour, linewidth=width, label=start)
        above.plot(*zip(*plain.losses, strict=True), color=colour, linestyle="--", linewidth=0.8)
        below.plot(ours.rates, color=colour, linewidth=width)
        below.plot(plain.rates, color=colour, linestyle="--", linewidth=0.8)
    above.set(yscale="log", ylabel="validation loss", title="one line, three starts (dashed: without it)")
    above.legend(title="first learning rate")
    below.set(yscale="log", ylabel="learning rate", xlabel="step")
    figure.savefig(target, dpi=120)


def main() -> None:
    """Train six times, and say where each run ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folder", type=Path, default=Path("demo_runs"), help="where the runs are written")
    parser.add_argument("--figure", type=Path, help="draw the curves into this file; default: in the folder")
    options = parser.parse_args()

    console = Console()
    quiet()
    torch.set_num_threads(1)  # the matrices are so small that a second thread only costs
    table = Table("first learning rate", "", "without", "with", title="validation loss at the end")
    curves = {}
    for start, lr in STARTS.items():
        console.print(f"training from a learning rate of {lr:g} ({start}) ...")
        plain, _, lost = train(lr, options.epochs, options.folder, controlled=False)
        ours, _, won = train(lr, options.epochs, options.folder, controlled=True)
        curves[start] = (ours, plain)
        table.add_row(f"{lr:g}", start, f"{lost:.4f}", f"{won:.4f}")
    console.print(table)
    target = options.figure or options.folder / "any_start.png"
    draw(curves, target)
    console.print(f"figure: {target}")
    show_how_to_look(console, options.folder)


if __name__ == "__main__":
    main()
