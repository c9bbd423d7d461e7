"""What is trained: the tasks, cheapest first, with the learning rate that an experienced user would write down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from benchmarks.any_start import data, models
from benchmarks.any_start.data import Data

STARTS = (0.01, 0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Task:
    """One model on one data set.

    Attributes:
        name: ends in the optimizer.
        data: reads the three splits from the data folder.
        model: a fresh one.
        optimizer: ``"sgd"`` (momentum 0.9), ``"adamw"``, ``"adam"``, ``"rmsprop"`` or ``"adagrad"``.
        lr: the reference rate; a run starts at a multiple of it.
        epochs: the budget; validation runs once an epoch.
        batch: batch size.
        weight_decay: passed to the optimizer.
        samples: drawn an epoch, where the data has far more than one epoch's worth.
        needs: the file in the data folder; ``None`` for what scikit-learn ships.
        regression: squared error in place of cross-entropy.
        full_batch: one step an epoch, and one batch a split.
    """

    name: str
    data: Callable[[Path | None], Data]
    model: Callable[[Data], nn.Module]
    optimizer: str
    lr: float
    epochs: int
    batch: int
    weight_decay: float = 0.0
    samples: int | None = None
    needs: str | None = None
    regression: bool = False
    full_batch: bool = False

    def steps_per_epoch(self, loaded: Data) -> int:
        """The last, smaller batch is dropped."""
        return max(1, (self.samples or len(loaded.train)) // self.batch)  # type: ignore[arg-type]

    def train_loader(self, loaded: Data, seed: int) -> DataLoader[Any]:
        """Shuffled by a generator of its own, which nothing else draws from."""
        generator = torch.Generator().manual_seed(seed + 77)
        sampler = RandomSampler(
            loaded.train,  # type: ignore[arg-type]
            replacement=self.samples is not None,
            num_samples=self.samples,
            generator=generator,
        )
        batch = min(self.batch, len(sampler))
        return DataLoader(loaded.train, sampler=BatchSampler(sampler, batch, drop_last=True), batch_size=None)

    def loader(self, split: Any) -> DataLoader[Any]:
        """In order: the validation batches are the same each time."""
        # At least four batches, since a paired test needs several; for a graph each would go through all of it.
        size = len(split) if self.full_batch else min(256, -(-len(split) // 4))
        return DataLoader(split, sampler=BatchSampler(SequentialSampler(split), size, drop_last=False), batch_size=None)

    def shortened(self, share: float) -> Task:
        """The same with a smaller budget: a short run."""
        return replace(self, name=f"{self.name}:short", epochs=max(4, round(self.epochs * share)))


FASHION, WINE, CORA = "fashion_mnist_20k_5k.npz", "wine_quality_red.npz", "cora.npz"

TASKS = (
    Task("small-wine-sgd", data.small_wine, models.narrow_perceptron, "sgd", 0.03, 60, 16),
    Task("cora-adamw", data.cora, models.graph_convnet, "adamw", 0.01, 200, 140, 0.05, needs=CORA, full_batch=True),
    Task("digits-sgd", data.digits, models.perceptron, "sgd", 0.1, 30, 32),
    Task("digits-adamw", data.digits, models.perceptron, "adamw", 1e-3, 30, 32, 0.01),
    Task("digits-noisy-adamw", data.noisy_digits, models.perceptron, "adamw", 1e-3, 30, 32, 0.01),
    Task("red-wine-sgd", data.red_wine, models.deep_perceptron, "sgd", 0.03, 40, 32, needs=WINE, regression=True),
    Task("finetune-adamw", data.fashion_half, models.pretrained_convnet, "adamw", 1e-3, 10, 64, 0.01, needs=FASHION),
    Task(
        "housing-adamw",
        data.housing,
        models.narrow_perceptron,
        "adamw",
        1e-3,
        15,
        128,
        0.01,
        needs="california_housing.npz",
        regression=True,
    ),
    Task(
        "bikes-adamw",
        data.bikes,
        models.narrow_perceptron,
        "adamw",
        1e-3,
        15,
        128,
        0.01,
        needs="bike_sharing_hour.npz",
        regression=True,
    ),
    Task("fashion-sgd", data.fashion, models.plain_convnet, "sgd", 0.1, 8, 64, 5e-4, needs=FASHION),
    Task("fashion-adamw", data.fashion, models.plain_convnet, "adamw", 1e-3, 8, 64, 0.01, needs=FASHION),
    Task("fashion-bn-sgd", data.fashion, models.normed_convnet, "sgd", 0.1, 8, 64, 5e-4, needs=FASHION),
    Task("fashion-bn-adamw", data.fashion, models.normed_convnet, "adamw", 1e-3, 8, 64, 0.01, needs=FASHION),
    Task(
        "shakespeare-adamw",
        data.shakespeare,
        models.character_model,
        "adamw",
        1e-3,
        10,
        16,
        0.01,
        samples=1280,
        needs="tinyshakespeare.txt.gz",
    ),
)


def available(folder: Path | None, names: Sequence[str] = ()) -> list[Task]:
    """The tasks whose data is there. The 178 wines stand in where there is no data folder: alone they say little."""
    known = {task.name: task for task in TASKS}
    if unknown := set(names) - set(known):
        raise SystemExit(f"no task {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    if names:
        return [known[name] for name in names]
    if folder is None:
        return [task for task in TASKS if task.needs is None]
    return [
        task
        for task in TASKS
        if task.name != "small-wine-sgd" and (task.needs is None or (folder / task.needs).exists())
    ]
