"""What EarlyStopping costs beside the controller, and what an end that begins early brings.

    python -m benchmarks.early_stopping --data DATA_FOLDER --seeds 3

Each task of ``benchmarks/any_start`` is trained from its reference rate: without EarlyStopping; with it, stopped at
once as Lightning alone would do it; and with ends of several lengths. The table is that of
docs/decisions/0007-early-stopping.md.
"""

from __future__ import annotations

import argparse
import logging
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping

from benchmarks.any_start.methods import Method, Plan, plain
from benchmarks.any_start.tasks import TASKS, Task
from benchmarks.any_start.training import Learner, _evaluate, _quiet, load
from lightning_lr import LearningRateController
from lightning_lr.engine import schedule
from lightning_lr.run import setup

DEFAULT = ["digits-noisy-adamw", "digits-sgd", "digits-adamw", "red-wine-sgd"]
METHOD = Method("early stopping", plain)
VARIANTS: dict[str, float | None] = {"none": None, "at once": 0.0, "1/4": 0.25, "1/2": 0.5, "1": 1.0}
"""Name → steps of the end as a share of those before it; 0: none; ``None``: no EarlyStopping at all."""


def train(task: Task, variant: str, patience: int, seed: int, folder: Path | None) -> tuple[float, int]:
    """Test loss and epochs of one run."""
    data = load(task, folder)
    torch.manual_seed(seed)
    plan = Plan(task, task.lr, task.epochs * task.steps_per_epoch(data))
    learner = Learner(task, task.model(data), METHOD, plan)
    callbacks: list[Any] = [LearningRateController("val_loss", verbose=False)]
    share = VARIANTS[variant]
    if share is not None:
        callbacks.append(EarlyStopping("val_loss", patience=patience))
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=task.epochs, callbacks=callbacks, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    with _ending(share):
        trainer.fit(learner, task.train_loader(data, seed), task.loader(data.validation))
    return _evaluate(learner, task.loader(data.test))[0], trainer.current_epoch


@contextmanager
def _ending(share: float | None) -> Iterator[None]:
    if share:
        with mock.patch.object(schedule, "EARLY", share):
            yield
    else:
        with mock.patch.object(setup, "anneal_before_stopping"):
            yield


def main() -> None:
    """Train all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the larger data sets")
    parser.add_argument("--tasks", nargs="+", default=DEFAULT)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--patience", type=int, default=5)
    parser.add_argument("--longer", type=int, default=2, help="times the epochs of benchmarks/any_start")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    _quiet()
    logging.disable(logging.INFO)
    tasks = {task.name: task for task in TASKS}
    print("| task | " + " | ".join(given.variants) + " |\n|" + " --- |" * (len(given.variants) + 1))
    for name in given.tasks:
        cells = []
        for variant in given.variants:
            task = replace(tasks[name], epochs=given.longer * tasks[name].epochs)
            runs = [train(task, variant, given.patience, seed, given.data) for seed in range(given.seeds)]
            losses, epochs = zip(*runs, strict=True)
            cells.append(f"{statistics.median(losses):.4g} ({min(losses):.4g} to {max(losses):.4g}), "
                         f"{statistics.median(epochs):.0f}")  # fmt: skip
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
