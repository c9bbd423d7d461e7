"""The snapshot in a file instead of in memory, for states that host memory cannot hold twice.

The file is written from the tensors of the training themselves, one after another, and mapped back into memory: the
snapshot is the same to everybody who uses it, but its pages come from the file when they are read, and the system may
let them go at any time. Each rank has a file of its own. A new one is written beside the former and takes its place
once it is whole.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from lightning_lr.errors import ArgumentError
from lightning_lr.snapshot.snapshot import Snapshot


class SnapshotFile:
    """One rank's file: it appears with the first snapshot, and goes with :meth:`remove`.

    A run that is killed leaves it behind: it is ``lr_snapshot-rank…`` in the folder, and nothing reads it any more.

    Args:
        folder: where; made where there is none. On a cluster a disk of the node itself.
        rank: number of this rank, for its name.
        warn: called with a sentence where a snapshot cannot be written.

    Raises:
        ArgumentError: where nothing can be written there.
    """

    def __init__(self, folder: str | os.PathLike[str], rank: int, warn: Callable[[str], None]) -> None:
        self._warn = warn
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            # A name of its own: several runs may share the folder.
            number, name = tempfile.mkstemp(".pt", f"lr_snapshot-rank{rank}-", folder)
        except OSError as error:
            raise ArgumentError(
                f"Expected `snapshot_folder` to be a folder that can be written to but got {str(folder)!r} ({error}). "
                "Name another one, or leave it out: then snapshots are kept in memory."
            ) from error
        os.close(number)
        self.path = Path(name)

    def keep(self, snapshot: Snapshot) -> Snapshot:
        """The same snapshot with its tensors in the file; where that fails, a copy in memory, and it is said.

        Args:
            snapshot: its tensors may be those of the training (:meth:`Snapshot.now`), which are only read.
        """
        beside = self.path.with_suffix(".tmp")
        try:
            torch.save(snapshot.payload(), beside)
            beside.replace(self.path)
        except (OSError, RuntimeError) as error:  # a full disk is a RuntimeError of torch's writer
            beside.unlink(missing_ok=True)
            self._warn(f"The snapshot cannot be written to {self.path} ({error}): this one is kept in memory.")
            return snapshot.copied()
        return Snapshot.from_payload(torch.load(self.path, map_location="cpu", mmap=True, weights_only=True))

    def remove(self) -> None:
        """Remove the file; calling it twice does no harm. A snapshot that is mapped from it stays readable."""
        with suppress(OSError):
            self.path.unlink()
