"""Line 4, with ``Snapshots(folder)``: what a snapshot in a file takes in memory and time, beside one in memory."""

from __future__ import annotations

import gc
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import nn

from benchmarks.overhead.figures import Figure, alternately, over, paired, shown
from lightning_lr.snapshot.files import SnapshotFile
from lightning_lr.snapshot.snapshot import Snapshot

STATUS = Path("/proc/self/status")
"""Linux tells there how much memory is this process's own; pages of a file are not, the system may drop them."""


def file_figures(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], rounds: int) -> Iterator[Figure]:
    """Memory by what the system counts, time by the clock on the wall: waiting for the disk counts."""
    with tempfile.TemporaryDirectory() as folder:
        file = SnapshotFile(folder, 0, print)
        kept = {"memory": Snapshot.now(model, optimizers).copied(), "file": file.keep(Snapshot.now(model, optimizers))}

        def take_in_memory() -> None:
            kept["memory"] = Snapshot.now(model, optimizers).copied(kept["memory"])

        def take_in_file() -> None:
            kept["file"] = file.keep(Snapshot.now(model, optimizers))

        calls = {
            "take, memory": take_in_memory,
            "take, file": take_in_file,
            "restore, memory": lambda: kept["memory"].restore(model, optimizers),
            "restore, file": lambda: kept["file"].restore(model, optimizers),
        }
        seconds = alternately(calls, rounds, clock=perf_counter)
        for name in ("take", "restore"):
            yield Figure(
                key=f"snapshot/file/{name}",
                line=4,
                what=f"to {name} a snapshot in a file (`Snapshots(folder)`), by the clock on the wall",
                over="one in memory",
                **paired(over(seconds, f"{name}, file", f"{name}, memory")),
                here=f"{shown(median(seconds[f'{name}, file']))}: "
                f"{kept['file'].nbytes / median(seconds[f'{name}, file']) / 1e9:.1f} GB/s",
            )
        if STATUS.exists():
            yield _memory(file)


def _memory(file: SnapshotFile) -> Figure:
    """Of a model large enough to be told from what the allocator does."""
    model = nn.Linear(4096, 16384, bias=False)
    before = _own()
    snapshot = file.keep(Snapshot.now(model, []))
    snapshot.restore(model, [])
    share = (_own() - before) / snapshot.nbytes
    return Figure(
        key="snapshot/file/memory",
        line=4,
        what="memory of its own that the process takes for a snapshot in a file, taken and restored",
        over="weights and optimizer state",
        ratio=share,
        low=share,
        high=share,
        pairs=1,
        here=f"{snapshot.nbytes / 2**20:.0f} MB in the file, by the system's count (RssAnon)",
        target="none",
        met=share < 0.05,
    )


def _own() -> int:
    """Bytes of memory that belong to this process alone and to no file."""
    gc.collect()
    found = re.search(r"RssAnon:\s+(\d+) kB", STATUS.read_text())
    assert found
    return 1024 * int(found[1])
