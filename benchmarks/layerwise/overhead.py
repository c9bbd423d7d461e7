"""What the callback costs: blocks of ten steps, in turn without it and with it at its default cadence, in one process.

::

    python -m benchmarks.layerwise.overhead --data FOLDER

Processor time, so that a busy machine disturbs both alike; the ratio of neighbouring blocks, its median and quartiles.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.any_start.tasks import Task
from benchmarks.any_start.training import load
from benchmarks.layerwise.tasks import TASKS
from lightning_lr.core.layer_rule import LayerRule
from lightning_lr.live.journal_file import JournalFile
from lightning_lr.live.layer_session import LayerSession
from lightning_lr.live.layers import layers_of
from lightning_lr.live.ranks import Ranks

BLOCK, BLOCKS = 10, 40
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
        self.session: LayerSession | None = None
        if layered:
            layers = layers_of(self.model)
            self.session = LayerSession(
                self.optimizer,
                layers,
                LayerRule(list(layers)),
                5,
                Ranks(),
                (),
                lambda: JournalFile(None, "", print),
                False,
            )
            self.session.scan([])
        self.steps = 0

    def block(self) -> float:
        """Seconds of processor time for a block."""
        begun = time.process_time()
        for _ in range(BLOCK):
            inputs, targets = next(self.batches)
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(inputs).flatten(0, -2), targets.flatten()).backward()  # type: ignore[no-untyped-call]
            if self.session is not None:
                self.session.before_step()
            self.optimizer.step()
            if self.session is not None:
                self.session.after_step(self.steps)
            self.steps += 1
        return time.process_time() - begun


def measure(task: Task, folder: Path | None) -> str:
    """One line of the table."""
    bare, layered = Loop(task, folder, False), Loop(task, folder, True)
    for loop in (bare, layered):
        loop.block()
    pairs = [(bare.block(), layered.block()) for _ in range(BLOCKS)]
    fives = [pairs[at : at + 5] for at in range(0, BLOCKS, 5)]
    shares = sorted(100 * (sum(b for _, b in five) / sum(a for a, _ in five) - 1) for five in fives)
    low, middle, high = statistics.quantiles(shares, n=4)
    step = 1000 * statistics.median(a for a, _ in pairs) / BLOCK
    return f"| {task.name} | {step:.2f} ms | {middle:+.1f} % | {low:+.1f} … {high:+.1f} % |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| task | bare step | with the callback | quartiles |\n| --- | ---: | ---: | ---: |")
    for task in TASKS:
        if task.name.startswith(("fashion", "shakespeare")):
            print(measure(replace(task), asked.data), flush=True)


if __name__ == "__main__":
    main()
