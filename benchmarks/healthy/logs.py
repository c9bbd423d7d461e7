"""The recorded logs, and what a healthy run is.

Written down before any detector had seen one of them, and it looks at no detector. A run is **healthy** where

1. its rate is the tuned one: of five candidates the best, on a run of its kind with another seed (true of all that are
   recorded), under a schedule that falls;
2. it learned: its last validation loss is at least a tenth below that of the untrained model, and no loss was ever
   infinite or no number;
3. it ended well: its last validation loss is within 5 % of the lowest that it ever had.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.detection.labels import numbers
from benchmarks.healthy.plan import Run
from lightning_lr.engine.records import Rate, Reading
from lightning_lr.offline.curves import readings_of

LEARNED, WITHIN = 0.1, 0.05


@dataclass(frozen=True)
class Log:
    """One recorded run.

    Attributes:
        run: what it was made of.
        start: validation loss of the untrained model.
        val: validation loss of each check, as the run logged it.
        blocks: means of the training loss over blocks of steps, for each check.
        rates: learning rate at each check.
    """

    run: Run
    start: float
    val: tuple[float, ...]
    blocks: tuple[tuple[float, ...], ...]
    rates: tuple[float, ...]

    @property
    def healthy(self) -> bool:
        """By the rules above.

        >>> run = Run("digits-adamw", "sgd", "cosine", 1.0, 1.0, 0)
        >>> made = Log(run, 2.0, (1.0, 0.5, 0.52), ((1.0,),) * 3, (0.1,) * 3)
        >>> made.healthy, replace(made, val=(1.0, 0.5, 0.6)).healthy, replace(made, start=0.55).healthy
        (True, False, False)
        """
        last = self.val[-1]
        finite = all(map(math.isfinite, (*self.val, *(block for blocks in self.blocks for block in blocks))))
        return finite and last <= (1 - LEARNED) * self.start and last <= (1 + WITHIN) * min(self.val)

    @property
    def readings(self) -> Iterator[Reading]:
        """As a replay of the run's own log would see them; the Trainer knew the budget."""
        for place, reading in enumerate(readings_of(self.val, self.blocks)):
            rate = self.rates[place]
            progress = (place + 1) / len(self.val)
            yield replace(reading, rates={"lr": Rate(rate, 1.0, rate)}, progress=progress)


def read_logs(path: Path) -> Iterator[Log]:
    """All of a file."""
    with gzip.open(path, "rt") as file:
        for line in map(json.loads, file):
            blocks = tuple(tuple(numbers(block)) for block in line["blocks"])
            val, rates = tuple(numbers(line["val"])), tuple(line["rates"])
            yield Log(Run(**line["run"]), numbers([line["start"]])[0], val, blocks, rates)
