"""A callback that examples know nothing of: after every step it gathers the learning rates of all ranks.

Lightning loads callbacks from the entry points of whatever is installed; :func:`installed` makes a folder look so.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback

FOLDER = "WITNESS_FOLDER"


class Witness(Callback):
    """Raises where the ranks hold different rates; leaves the number of steps that it saw in a file."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        assert_same_everywhere([float(group["lr"]) for group in trainer.optimizers[0].param_groups])
        self.steps += 1
        note = Path(os.environ[FOLDER]) / f"witnessed-{trainer.global_rank}-{os.getpid()}"
        # Never half written: the tests kill processes at any moment.
        beside = note.with_name(f"next-{note.name}")
        beside.write_text(str(self.steps))
        beside.replace(note)


def assert_same_everywhere(numbers: list[float]) -> None:
    """Bit for bit, on all ranks."""
    own = torch.tensor(numbers, dtype=torch.float64)
    if dist.get_world_size() > 1:
        all_of_them = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(all_of_them, own)
        assert all(torch.equal(own, other) for other in all_of_them), f"the ranks parted: {all_of_them}"


def callbacks() -> list[Callback]:
    """What the entry point names."""
    return [Witness()]


def installed(folder: Path) -> dict[str, str]:
    """Environment for a program whose Trainers shall have the witness; notes go to the folder."""
    about = folder / "installed" / "witness-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: witness\nVersion: 1\n")
    entry = "[lightning.pytorch.callbacks_factory]\nwitness = tests.cluster.hosts.witness:callbacks\n"
    (about / "entry_points.txt").write_text(entry)
    root = Path(__file__).parents[3]
    return {FOLDER: str(folder), "PYTHONPATH": f"{root}:{about.parent}"}


def steps_seen(folder: Path) -> dict[int, int]:
    """Rank → steps after which all ranks held the same rates, over all its processes."""
    seen: dict[int, int] = {}
    for note in folder.glob("witnessed-*"):
        rank = int(note.name.split("-")[1])
        seen[rank] = seen.get(rank, 0) + int(note.read_text())
    return seen
