"""Record small real training runs for the detection benchmark: ``python -m benchmarks.detection.record``.

Plain torch on what scikit-learn ships (no download), one thread, seeded. Each run is one line of
``recorded.jsonl.gz``: the
validation loss of each check, the means of the training loss over four blocks of steps, and the loss on test data,
which labels the onset (:mod:`benchmarks.detection.labels`) and which no detector ever sees.

Needs torch and scikit-learn; takes about six minutes on one core. The benchmark itself needs neither.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).with_name("recorded.jsonl.gz")
BLOCKS = 4
CHECKS = 80


@dataclass(frozen=True)
class Run:
    """What one recorded run is made of.

    Attributes:
        task: data set; ``digits-noisy`` has 30 % wrong labels in the training data.
        model: ``linear``, or ``mlp`` with one hidden layer.
        optimizer: ``sgd`` (momentum 0.9) or ``adamw``.
        lr: learning rate at the start.
        seed: of the split, the wrong labels, the initial weights and the batches.
        decay: weight decay.
        schedule: ``constant``; ``ramp`` (× 1.25 a check from check 15 on); ``jump`` (× 300 at check 25);
            ``cosine`` (to zero over the run).
        batch: batch size.
        checks: number of checks, one an epoch.
    """

    task: str
    model: str
    optimizer: str
    lr: float
    seed: int
    decay: float = 0.0
    schedule: str = "constant"
    batch: int = 32
    checks: int = CHECKS

    @property
    def name(self) -> str:
        """All of it in one word."""
        decay = f"-wd{self.decay:g}" if self.decay else ""
        return (
            f"{self.task}-{self.model}-{self.optimizer}-{self.lr:g}{decay}-{self.schedule}-b{self.batch}-s{self.seed}"
        )

    def rate(self, check: int) -> float:
        """Learning rate during one check."""
        factors: dict[str, Callable[[int], float]] = {
            "constant": lambda c: 1.0,
            "ramp": lambda c: 1.25 ** max(0, c - 15),
            "jump": lambda c: 300.0 if c >= 25 else 1.0,
            "cosine": lambda c: 0.5 * (1 + math.cos(math.pi * c / self.checks)),
        }
        return self.lr * factors[self.schedule](check)


def plan(seeds: int = 10) -> Iterator[Run]:
    """The runs that are recorded: rates from far too low to far too high, on each task."""
    for seed in range(seeds):
        for lr in (0.0002, 0.0005, 0.003, 0.03):
            yield Run("digits", "mlp", "sgd", lr, seed)
        for lr in (1e-5, 3e-5, 6e-5, 2e-4, 1e-3):
            yield Run("digits", "mlp", "adamw", lr, seed, decay=0.01)
        yield Run("digits", "mlp", "sgd", 0.02, seed, schedule="cosine")
        for optimizer, lr in (
            ("sgd", 0.02),
            ("sgd", 0.05),
            ("adamw", 3e-4),
            ("adamw", 1e-3),
            ("adamw", 5e-5),
            ("sgd", 5e-4),
        ):
            yield Run("digits-noisy", "mlp", optimizer, lr, seed)
        for task in ("wine", "cancer"):
            yield Run(task, "mlp", "sgd", 0.0005, seed, batch=16)
            yield Run(task, "mlp", "adamw", 1e-4, seed, batch=16)
            yield Run(task, "mlp", "adamw", 3e-3, seed, batch=16)
            yield Run(task, "linear", "sgd", 0.05, seed, decay=0.05, batch=8)
        for decay in (0.01, 0.05):
            yield Run("digits", "linear", "sgd", 0.05, seed, decay=decay)
            yield Run("digits", "mlp", "sgd", 0.02, seed, decay=decay)
        yield Run("digits", "mlp", "sgd", 0.05, seed, schedule="ramp")
        yield Run("digits", "mlp", "sgd", 0.005, seed, schedule="jump")
        yield Run("digits", "mlp", "adamw", 1e-3, seed, schedule="jump")
        yield Run("cancer", "mlp", "sgd", 0.05, seed, schedule="ramp", batch=16)


def record(run: Run) -> dict[str, Any]:
    """Train once, and return the line of the file."""
    import numpy as np
    import torch
    from sklearn import datasets
    from torch.nn import Linear, ReLU, Sequential
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(1)
    torch.manual_seed(run.seed)
    loader = {"wine": datasets.load_wine, "cancer": datasets.load_breast_cancer}.get(run.task, datasets.load_digits)
    features, labels = loader(return_X_y=True)
    features = (features - features.mean(0)) / (features.std(0) + 1e-6)
    order = np.random.default_rng(run.seed).permutation(len(labels))
    x, y = torch.tensor(features[order], dtype=torch.float32), torch.tensor(labels[order])
    classes = int(y.max()) + 1
    train, held = int(0.5 * len(y)), int(0.7 * len(y))
    y_train = y[:train].clone()
    if run.task == "digits-noisy":
        wrong = torch.rand(train) < 0.3
        y_train[wrong] = torch.randint(classes, (int(wrong.sum()),))
    hidden = [Linear(x.shape[1], 128), ReLU(), Linear(128, classes)]
    model = Sequential(*hidden) if run.model == "mlp" else Linear(x.shape[1], classes)
    if run.optimizer == "sgd":
        optimizer: Any = torch.optim.SGD(model.parameters(), lr=run.lr, momentum=0.9, weight_decay=run.decay)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=run.lr, weight_decay=run.decay)
    with torch.no_grad():
        start = number([cross_entropy(model(x[held:]), y[held:]).item()])
    lines: dict[str, Any] = {"name": run.name, "run": asdict(run), "start": start, "val": [], "test": [], "blocks": []}
    for check in range(run.checks):
        for group in optimizer.param_groups:
            group["lr"] = run.rate(check)
        losses = []
        for batch in torch.randperm(train).split(run.batch):
            loss = cross_entropy(model(x[batch]), y_train[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        size = math.ceil(len(losses) / BLOCKS)
        lines["blocks"].append([number(losses[i : i + size]) for i in range(0, len(losses), size)])
        with torch.no_grad():
            lines["val"].append(number([cross_entropy(model(x[train:held]), y[train:held]).item()]))
            lines["test"].append(number([cross_entropy(model(x[held:]), y[held:]).item()]))
    return lines


def number(losses: list[float]) -> float | None:
    """Mean with six digits; ``None`` where it is not finite, since JSON has no word for that."""
    mean = sum(losses) / len(losses)
    return float(f"{mean:.6g}") if math.isfinite(mean) else None


def main() -> None:
    """Record all runs of the plan."""
    with RECORDED.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as file:
        for run in plan():
            file.write((json.dumps(record(run), separators=(",", ":")) + "\n").encode())
            print(run.name, flush=True)


if __name__ == "__main__":
    main()
