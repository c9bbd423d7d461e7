"""Snapshots in files, each rank its own; a new file is written beside the former and takes its place once it is whole.

- :class:`SnapshotFile`: in place of host memory, for states that it cannot hold twice. The file is written from the
  tensors of the training themselves, one after another, and mapped back into memory: its pages are read when they are
  needed, and the system may drop them at any time.
- :class:`FilesBeside`: beside a checkpoint, ``<checkpoint>.lr_snapshot/``. For snapshots of more than :data:`LARGE`
  bytes, since Lightning builds a checkpoint in memory before it writes it, where the snapshot would be held twice; and
  for sharded models, of which Lightning keeps rank 0's part of a checkpoint alone, beside the weights and the optimizer
  state. Written before the checkpoint: one that is whole has its files. The name of a file says which checkpoint, rank
  and number of ranks it belongs to; no other one is taken. A snapshot that lies in a file is linked or copied as a
  file, so that none of it is read into memory.
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lightning_lr.errors import ArgumentError
from lightning_lr.snapshot.constant import bytes_of
from lightning_lr.snapshot.snapshot import Snapshot

SUFFIX = ".lr_snapshot"
LARGE = 64 * 2**20


class SnapshotFile:
    """One rank's file: it appears with the first snapshot, and goes with :meth:`remove`.

    A run that is killed leaves it behind: it is ``lr_snapshot-rank…`` in the folder, and is not read again.

    Args:
        folder: where; made if it does not exist. On a cluster a disk of the node itself.
        rank: number of this rank, for its name.
        warn: called with a sentence if a snapshot cannot be written.

    Raises:
        ArgumentError: if nothing can be written there.
    """

    def __init__(self, folder: str | os.PathLike[str], rank: int, warn: Callable[[str], None]) -> None:
        self._warn = warn
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            # A name of its own: several runs may share the folder.
            number, name = tempfile.mkstemp(".pt", f"lr_snapshot-rank{rank}-", folder)
        except OSError as error:
            raise ArgumentError(
                f"Expected `folder` of Snapshots to be a folder that can be written to but got {str(folder)!r} "
                f"({error}). Name another one, or leave it out: then snapshots are kept in memory."
            ) from error
        os.close(number)
        self.path = Path(name)

    def keep(self, snapshot: Snapshot) -> Snapshot:
        """The same snapshot with its tensors in the file; if that fails, a copy in memory, with a warning.

        Args:
            snapshot: its tensors may be those of the training (:meth:`Snapshot.now`), which are only read.
        """
        error = _written(snapshot.payload(), self.path)
        if error is not None:
            self._warn(f"The snapshot cannot be written to {self.path} ({error}): this one is kept in memory.")
            return snapshot.copied()
        mapped = Snapshot.from_payload(torch.load(self.path, map_location="cpu", mmap=True, weights_only=True))
        return replace(mapped, file=self.path)

    def remove(self) -> None:
        """Remove the file; calling it twice does no harm. A snapshot that is mapped from it stays readable."""
        with suppress(OSError):
            self.path.unlink()


def keep_beside(strategy: Any, key: str, sharded: bool, warn: Callable[[str], None]) -> None:
    """From now on, whenever the strategy writes, reads or removes a checkpoint, it does the same to our files.

    It stays so after the fit, since a checkpoint may be written then; a second call does no harm.

    Args:
        strategy: of the Trainer.
        key: where the checkpoint holds our part: a dict whose ``"snapshot"`` is moved to the files, and back, with a
            ``"token"`` for their names, and the ``"file"`` that holds the same already, or ``None``.
        sharded: whether each rank has a snapshot of its own.
        warn: called with a sentence if a file cannot be written.
    """
    if not hasattr(strategy, "remove_checkpoint"):
        return  # of a Fabric loop, which writes its checkpoints itself
    if any(one.key == key for one in _put_on(strategy)):
        return
    files = FilesBeside(key, strategy, sharded, warn)
    save, load, remove = strategy.save_checkpoint, strategy.load_checkpoint, strategy.remove_checkpoint

    def save_checkpoint(checkpoint: dict[str, Any], filepath: Any, *args: Any, **options: Any) -> Any:
        filepath = files.agreed(filepath)
        token = files.save(checkpoint, filepath)
        saved = save(checkpoint, filepath, *args, **options)
        files.remove(filepath, but=token)  # those of a checkpoint that had this name before
        return saved

    def load_checkpoint(checkpoint_path: Any, *args: Any, **options: Any) -> Any:
        checkpoint = load(checkpoint_path, *args, **options)
        files.load(checkpoint, files.agreed(checkpoint_path))
        return checkpoint

    def remove_checkpoint(filepath: Any) -> Any:
        files.remove(filepath)
        return remove(filepath)

    for ours in (save_checkpoint, load_checkpoint, remove_checkpoint):
        setattr(strategy, ours.__name__, _InPlace(strategy, key, ours))


class _InPlace:
    """Called in place of a method of the strategy; a copy or a pickle of the strategy has what was found there."""

    def __init__(self, strategy: Any, key: str, ours: Callable[..., Any]) -> None:
        self.key, self._ours, self._strategy = key, ours, strategy
        self.found = vars(strategy).get(ours.__name__)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._ours(*args, **options)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # By builtins, so that a list of allowed names needs none of ours.
        return (getattr, (self._strategy, self._ours.__name__)) if self.found is None else (partial, (self.found,))


def _put_on(strategy: Any) -> Iterator[_InPlace]:
    """All that was put in place of its ``save_checkpoint``, newest first."""
    found = vars(strategy).get("save_checkpoint")
    while isinstance(found, _InPlace):
        yield found
        found = found.found


class FilesBeside:
    """This rank's files beside the checkpoints.

    Args:
        key: see :func:`keep_beside`.
        strategy: of the Trainer.
        sharded: whether each rank has a snapshot of its own; else rank 0's is everyone's.
        warn: called with a sentence if a file cannot be written.
    """

    def __init__(self, key: str, strategy: Any, sharded: bool, warn: Callable[[str], None]) -> None:
        rank = getattr(strategy, "global_rank", 0)
        self.key, self.strategy, self.sharded = key, strategy, sharded
        self._writes, self._warn = sharded or rank == 0, warn
        # The key has characters that no file may have.
        self._name = f"{zlib.crc32(key.encode()):08x}"
        if sharded:
            self._name += f"-rank{rank}of{getattr(strategy, 'world_size', 1)}"

    def agreed(self, path: Any) -> Any:
        """Rank 0's path, as strategies with shards themselves do it."""
        return self.strategy.broadcast(path) if self.sharded else path

    def path(self, checkpoint: Any, token: Sequence[Any]) -> Path:
        """Where this rank's part of a checkpoint lies; a link to the checkpoint has no files of its own."""
        return self._folder(checkpoint) / f"{self._name}-{'.'.join(map(str, token))}.pt"

    def save(self, checkpoint: dict[str, Any], path: Any) -> Sequence[Any] | None:
        """Move the snapshot from the checkpoint to the file; returns the token of the file, if there is one."""
        held = checkpoint.get(self.key)
        if not held:
            return None
        held = checkpoint[self.key] = dict(held)
        same = held.pop("file", None)
        if held.get("snapshot") is None:
            return None
        is_remote = "://" in str(path)
        if not self.sharded and (is_remote or bytes_of(held["snapshot"]["tensors"]) <= LARGE):
            return None
        payload, file = held["snapshot"], self.path(path, held["token"])
        held.update(snapshot=None, in_files=True)
        error = _written(payload, file, same) if self._writes else None
        if error is not None:
            self._warn(f"The snapshot cannot be written to {file} ({error}); a run resumed from here has none.")
        return list(held["token"])

    def load(self, checkpoint: dict[str, Any], path: Any) -> None:
        """Move the snapshot from the file to the checkpoint; if there is none of its name, the checkpoint has none."""
        held = checkpoint.get(self.key)
        if held and held.get("in_files"):
            with suppress(OSError, RuntimeError, EOFError, pickle.UnpicklingError):
                payload = torch.load(self.path(path, held["token"]), weights_only=True)
                checkpoint[self.key] = {**held, "snapshot": payload}

    def remove(self, path: Any, but: Sequence[Any] | None = None) -> None:
        """Remove this rank's files of a checkpoint, except the one with a token, and the folder once it is empty."""
        if not self._writes:
            return
        with suppress(OSError):
            kept = None if but is None else self.path(path, but)
            for file in self._folder(path).glob(f"{self._name}-*.pt"):
                if file != kept:
                    file.unlink()
            if kept is None:
                self._folder(path).rmdir()

    @staticmethod
    def _folder(checkpoint: Any) -> Path:
        return Path(os.path.realpath(checkpoint) + SUFFIX)


def _written(payload: Mapping[str, Any], path: Path, same: str | None = None) -> Exception | None:
    """Write a whole file; returns what went wrong, and then leaves the former one as it was.

    Args:
        payload: what it will hold.
        path: the file.
        same: a file that holds the same.
    """
    beside = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if same is None or not _copied(same, beside):
            torch.save(payload, beside)
        beside.replace(path)
    except (OSError, RuntimeError) as error:  # a full disk is a RuntimeError of torch's writer
        with suppress(OSError):
            beside.unlink()
        return error
    return None


def _copied(file: str, target: Path) -> bool:
    """Another name for a file, which is never written again, or a copy of it; ``False`` if there can be none."""
    for copy in (os.link, shutil.copyfile):
        with suppress(OSError):
            target.unlink(missing_ok=True)
            copy(file, target)
            return True
    return False
