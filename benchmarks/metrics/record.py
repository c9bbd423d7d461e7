"""Record small real runs with all probes: ``python -m benchmarks.metrics.record --data FOLDER``.

Plain torch, one thread, seeded; each check is an epoch. One line of ``recorded.jsonl.gz`` a run: validation loss,
means of the training loss over four blocks, what the probes measured, and the loss on test data, which no detector
ever sees and whose minimum is the true onset (the rule of :mod:`benchmarks.detection.labels`).
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.detection.record import BLOCKS, number

RECORDED = Path(__file__).with_name("recorded.jsonl.gz")


@dataclass(frozen=True)
class Run:
    """What one run is made of; the batch of Cora is a part of its labelled nodes, the graph is whole."""

    task: str
    optimizer: str
    lr: float
    seed: int
    decay: float = 0.0
    batch: int = 32
    checks: int = 80
    cut_at: int = 0

    @property
    def name(self) -> str:
        """All of it in one word."""
        cut = f"-cut{self.cut_at}" if self.cut_at else ""
        return f"{self.task}-{self.optimizer}-{self.lr:g}-wd{self.decay:g}-b{self.batch}{cut}-s{self.seed}"


def plan(seeds: int = 3) -> Iterator[Run]:
    """Runs that overfit, runs that do not, and a row of rates, which ends in a cut."""
    for seed in range(seeds):
        yield Run("noisy-digits", "sgd", 0.05, seed)
        yield Run("noisy-digits", "adamw", 1e-3, seed)
        yield Run("noisy-digits", "sgd", 5e-4, seed)
        yield Run("digits", "sgd", 0.02, seed, decay=0.01)
        yield Run("digits", "adamw", 3e-4, seed, decay=0.01)
        yield Run("red-wine", "adamw", 3e-3, seed)
        yield Run("red-wine", "sgd", 0.05, seed)
        yield Run("red-wine-linear", "sgd", 0.003, seed)
        yield Run("red-wine", "sgd", 1e-3, seed, decay=0.05)
        yield Run("cora", "adamw", 0.01, seed, batch=35)
        yield Run("cora", "adamw", 0.03, seed, batch=35)
        yield Run("cora", "adamw", 5e-4, seed, batch=35)
    for seed in range(seeds):
        for lr in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
            yield Run("digits", "plain-sgd", lr, seed, checks=40, cut_at=25)


def data_of(task: str, folder: Path | None) -> Any:
    """The data of a task, from the any-start benchmark."""
    from benchmarks.any_start import data

    sources = {"noisy-digits": data.noisy_digits, "digits": data.digits, "cora": data.cora}
    return sources.get(task, data.red_wine)(folder)


def model_of(task: str, data: Any) -> tuple[Any, Callable[..., Any]]:
    """A model and its loss."""
    from torch import nn
    from torch.nn import functional

    from benchmarks.any_start.models import graph_convnet

    if task == "cora":
        return graph_convnet(data), functional.cross_entropy
    features, classes = data.summary["features"], data.summary.get("classes", 1)
    if task.endswith("linear"):
        return nn.Sequential(nn.Linear(features, 1), nn.Flatten(0)), functional.mse_loss
    body = [nn.Linear(features, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, classes)]
    if classes == 1:
        return nn.Sequential(*body, nn.Flatten(0)), functional.mse_loss
    return nn.Sequential(*body), functional.cross_entropy


def record(run: Run, folder: Path | None) -> dict[str, Any]:
    """Train once, and return the line of the file."""
    import torch

    from lightning_lr import GradientDisparity, NeuronCoherence, UpdateRatio
    from lightning_lr.run.readings.probes import Probes

    torch.set_num_threads(1)
    torch.manual_seed(run.seed)
    data = data_of(run.task, folder)
    model, loss_of = model_of(run.task, data)
    kinds = {"sgd": (torch.optim.SGD, {"momentum": 0.9}), "plain-sgd": (torch.optim.SGD, {})}
    make, options = kinds.get(run.optimizer, (torch.optim.AdamW, {}))
    optimizer = make(model.parameters(), lr=run.lr, weight_decay=run.decay, **options)
    coherence = [] if run.task in ("cora", "red-wine-linear") else [NeuronCoherence()]  # there is no layer to watch
    probes = Probes.attached([*coherence, UpdateRatio(), GradientDisparity()], model, optimizer, None)
    probe_batch = data.validation[torch.arange(min(128, len(data.validation)))]

    def held_out(part: Any) -> float:
        model.eval()
        with torch.no_grad():
            inputs, targets = part[torch.arange(len(part))]
            loss = float(loss_of(model(inputs), targets))
        model.train()
        return loss

    start = number([held_out(data.test)])
    line: dict[str, Any] = {"name": run.name, "run": asdict(run), "start": start, "probes": []}
    line.update({"val": [], "test": [], "blocks": []})
    for check in range(run.checks):
        if run.cut_at and check == run.cut_at:
            for group in optimizer.param_groups:
                group["lr"] *= 0.3
        losses = []
        for rows in torch.randperm(len(data.train)).split(run.batch):
            inputs, targets = data.train[rows]
            loss = loss_of(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            probes.before_step()
            optimizer.step()
            probes.after_step()
            losses.append(loss.item())
        size = math.ceil(len(losses) / BLOCKS)
        line["blocks"].append([number(losses[i : i + size]) for i in range(0, len(losses), size)])
        probes.begin_batch(probe_batch)
        model.eval()
        with torch.no_grad():
            model(probe_batch[0])
        model.train()
        probes.end_batch()
        found = probes.readings(probes.totals())
        probes.restart()
        line["probes"].append({name: number([value]) for name, value in found.items() if "/" not in name})
        line["val"].append(number([held_out(data.validation)]))
        line["test"].append(number([held_out(data.test)]))
    return line


def main() -> None:
    """Record all runs of the plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with wine_quality_red.npz and cora.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RECORDED)
    options = parser.parse_args()
    with options.out.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as file:
        for run in plan(options.seeds):
            file.write((json.dumps(record(run, options.data), separators=(",", ":")) + "\n").encode())
            print(run.name, flush=True)


if __name__ == "__main__":
    main()
