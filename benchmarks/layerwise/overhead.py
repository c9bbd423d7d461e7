"""What the callback costs: blocks of ten steps, in turn without it and with it at its default cadence, in one process.

::

    python -m benchmarks.layerwise.overhead --data FOLDER

Two figures, as in benchmarks/metrics: the ratio of neighbouring blocks, which holds everything and is as noisy as the
machine; and the time within the callback's own calls beside the rest of the same blocks, which is steady. Processor
time, so that waiting for neighbours does not count. Writes overhead.json, which RESULTS.md repeats.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.any_start.tasks import Task
from benchmarks.any_start.training import load
from benchmarks.layerwise.tasks import TASKS
from lightning_lr.layerwise.layers import layers_of
from lightning_lr.layerwise.layerwise_run import LayerwiseRun
from lightning_lr.layerwise.probe import LayerProbe
from lightning_lr.layerwise.rule import LayerRule
from lightning_lr.loggers.journal_file import JournalFile

OVERHEAD = Path(__file__).with_name("overhead.json")
BLOCK, BLOCKS = 10, 150
"""A block holds two measurements, and every fifth a window: the mean over five blocks is the cost."""


class Loop:
    """Ordinary training steps, with a session or without."""

    def __init__(self, task: Task, folder: Path | None, layered: bool) -> None:
        loaded = load(task, folder)
        torch.manual_seed(0)
        self.model = task.model(loaded)
        make: Any = torch.optim.SGD if task.optimizer == "sgd" else torch.optim.AdamW
        self.optimizer = make(self.model.parameters(), task.lr)
        self.batches = itertools.cycle(list(itertools.islice(task.train_loader(loaded, 0), 20)))
        self.fit_run: LayerwiseRun | None = None
        if layered:
            layers = layers_of(self.model)
            self.fit_run = LayerwiseRun(
                self.optimizer,
                layers,
                LayerRule(list(layers)),
                5,
                LayerProbe(layers),
                (),
                JournalFile(None, "", print),
                False,
                print,
            )
            self.fit_run.scan([])
        self.steps = 0
        self.spent = 0.0

    def block(self) -> tuple[float, float]:
        """Seconds of processor time for a block, and of these within the callback's calls."""
        self.spent = 0.0
        begun = time.process_time()
        for _ in range(BLOCK):
            inputs, targets = next(self.batches)
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(inputs).flatten(0, -2), targets.flatten()).backward()  # type: ignore[no-untyped-call]
            if self.fit_run is not None:
                self.timed(self.fit_run.before_step)
            self.optimizer.step()
            if self.fit_run is not None:
                self.timed(self.fit_run.after_step, self.steps)
            self.steps += 1
        return time.process_time() - begun, self.spent

    def timed(self, call: Callable[..., Any], *arguments: Any) -> None:
        """A call of the session, and how long it took."""
        begun = time.process_time()
        call(*arguments)
        self.spent += time.process_time() - begun


def measure(task: Task, folder: Path | None) -> dict[str, Any]:
    """What the callback adds to a step, as shares of the bare one."""
    bare, layered = Loop(task, folder, False), Loop(task, folder, True)
    for _ in range(5):  # the first windows have 1, 2, 4 and 8 measurements
        bare.block(), layered.block()
    shares, own, steps = [], [], []
    for _ in range(BLOCKS // 5):
        pairs = [_pair(bare, layered, turn) for turn in range(5)]
        plain, whole, inside = (sum(pair[at] for pair in pairs) for at in range(3))
        shares.append(whole / plain - 1)
        own.append(inside / (whole - inside))
        steps.append(plain / 5 / BLOCK)
    low, middle, high = statistics.quantiles(shares, n=4)
    return {
        "task": task.name,
        "bare": round(statistics.median(steps), 6),
        "own": round(statistics.median(own), 5),
        "share": round(middle, 5),
        "quartiles": [round(low, 5), round(high, 5)],
    }


def _pair(bare: Loop, layered: Loop, turn: int) -> tuple[float, float, float]:
    """A block without and one with, in changing order: seconds without, with, and within the calls."""
    if turn % 2:
        (whole, inside), (plain, _) = layered.block(), bare.block()
    else:
        (plain, _), (whole, inside) = bare.block(), layered.block()
    return plain, whole, inside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for task in TASKS:
        if task.name.startswith(("fashion", "shakespeare")):
            found.append(measure(task, asked.data))
            print(found[-1], flush=True)
    OVERHEAD.write_text("[\n" + ",\n".join(json.dumps(one) for one in found) + "\n]\n")


if __name__ == "__main__":
    main()
