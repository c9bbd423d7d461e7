"""What differs between the ranks of a sharded model, in files beside the checkpoint: one a rank.

Lightning keeps rank 0's part of a checkpoint alone, beside the weights and the optimizer state, which it gathers or
saves in shards itself. A snapshot is neither, so each rank writes its own to ``<checkpoint>.lr_snapshot/``, before the
checkpoint: one that is whole has its files. What belongs together bears the same token; a file of another checkpoint,
another rank or another number of ranks is not taken.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

SUFFIX = ".lr_snapshot"
MARK = "_lightning_lr_shard_files"


def keep_beside(strategy: Any, key: str, warn: Callable[[str], None]) -> None:
    """From now on, whenever the strategy writes, reads or removes a checkpoint, it does the same to our files.

    It stays so after the fit, since a checkpoint may be written then; a second call does no harm.

    Args:
        strategy: a strategy whose parameters are sharded.
        key: where the checkpoint holds our part: a dict whose ``"snapshot"`` is moved to the files, and back.
        warn: called with a sentence where a file cannot be written.
    """
    known: set[str] = strategy.__dict__.setdefault(MARK, set())
    if key not in known:
        known.add(key)
        files = ShardFiles(key, strategy.global_rank, strategy.world_size, warn)
        for name in ("save_checkpoint", "load_checkpoint", "remove_checkpoint"):
            setattr(strategy, name, _around(strategy, name, files))


class ShardFiles:
    """One rank's files.

    Args:
        key: see :func:`keep_beside`.
        rank: number of this rank.
        world_size: how many there are.
        warn: called with a sentence where a file cannot be written.
    """

    def __init__(self, key: str, rank: int, world_size: int, warn: Callable[[str], None]) -> None:
        self.key = key
        self.place = {"rank": rank, "world_size": world_size}
        self._warn = warn
        self._name = f"{zlib.crc32(key.encode()):08x}-rank{rank}.pt"  # the key has characters that no file may have

    def path(self, checkpoint: Any) -> Path:
        """Where this rank's part of a checkpoint lies; a link to the checkpoint has no files of its own."""
        return Path(os.path.realpath(checkpoint) + SUFFIX) / self._name

    def save(self, checkpoint: dict[str, Any], path: Any) -> None:
        """Move the snapshot from the checkpoint to the file."""
        held = checkpoint.get(self.key)
        if not held or held.get("snapshot") is None:
            return
        payload, token = held["snapshot"], held["token"]
        checkpoint[self.key] = {**held, "snapshot": None, "in_files": True}
        file = self.path(path)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save({**self.place, "token": token, "snapshot": payload}, file.with_suffix(".tmp"))
            file.with_suffix(".tmp").replace(file)
        except (OSError, RuntimeError) as error:  # a full disk is a RuntimeError of torch's writer
            self._warn(f"The snapshot cannot be written to {file} ({error}); a run resumed from here has none.")

    def load(self, checkpoint: dict[str, Any], path: Any) -> None:
        """Move the snapshot from the file to the checkpoint; where there is none that fits, the checkpoint has none."""
        held = checkpoint.get(self.key)
        if held and held.get("in_files"):
            with suppress(OSError, RuntimeError, EOFError):
                saved = torch.load(self.path(path), weights_only=True)
                if all(saved[name] == value for name, value in {**self.place, "token": held["token"]}.items()):
                    checkpoint[self.key] = {**held, "snapshot": saved["snapshot"]}

    def remove(self, path: Any) -> None:
        """Remove the file, and the folder once it is empty."""
        with suppress(OSError):
            self.path(path).unlink()
            self.path(path).parent.rmdir()


def _around(strategy: Any, name: str, files: ShardFiles) -> Callable[..., Any]:
    plain: Callable[..., Any] = getattr(strategy, name)

    def save_checkpoint(checkpoint: dict[str, Any], filepath: Any, *args: Any, **options: Any) -> Any:
        filepath = strategy.broadcast(filepath)  # rank 0's, as the strategy itself does it
        files.save(checkpoint, filepath)
        return plain(checkpoint, filepath, *args, **options)

    def load_checkpoint(checkpoint_path: Any, *args: Any, **options: Any) -> Any:
        checkpoint = plain(checkpoint_path, *args, **options)
        files.load(checkpoint, strategy.broadcast(checkpoint_path))
        return checkpoint

    def remove_checkpoint(filepath: Any) -> Any:
        files.remove(filepath)
        return plain(filepath)

    return {f.__name__: f for f in (save_checkpoint, load_checkpoint, remove_checkpoint)}[name]
