"""The journal as a file: opened, cut back on resume, one line a check, flushed at once.

A journal that cannot be written never stops a training: there is one warning, and everything that a decision depends on
is in the checkpoint anyway.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NAME = "lr_journal"


class JournalFile:
    """One run's journal; the same file through all of its resumptions.

    Args:
        path: where to write; ``None`` for no file.
        header: the first line.
        warn: called with a sentence where something cannot be done.
    """

    def __init__(self, path: Path | None, header: str, warn: Callable[[str], None]) -> None:
        self.path = path
        self.size = 0
        self.header = header
        self._warn = warn
        self._lost = path is None

    @classmethod
    def begun(cls, path: Path | None, header: str, warn: Callable[[str], None]) -> JournalFile:
        """A new journal, under the next free name where a file lies there already.

        The file is made at once: two runs that start side by side in one folder must not choose the same name.
        """
        journal = cls(path, header, warn)
        if path is not None:
            with journal._lost_on_error():
                path.parent.mkdir(parents=True, exist_ok=True)
                journal.path = _reserved(path)
        return journal

    @classmethod
    def resumed(
        cls, state: Mapping[str, Any] | None, path: Path | None, header: str, warn: Callable[[str], None]
    ) -> JournalFile:
        """The journal of a run that goes on: the former file cut back to the checkpoint, else a new one at ``path``."""
        if not state or not state.get("path"):
            return cls.begun(path, header, warn)
        former = Path(state["path"])
        try:
            size = _cut_back(former, int(state["size"]))
        except OSError as error:
            warn(f"The journal {former} cannot be continued ({error}); a new one begins at {path}.")
            return cls.begun(path, header, warn)
        if size < int(state["size"]):
            warn(f"The journal {former} had lost its end; it was repaired to its last whole line, {size} bytes.")
        journal = cls(former, header, warn)
        journal.size = size
        return journal

    def write(self, line: str) -> None:
        """Append one line."""
        if self._lost or self.path is None:
            return
        text = f"{line}\n" if self.size else f"{self.header}\n{line}\n"
        with self._lost_on_error(), self.path.open("ab") as file:
            file.truncate(self.size)
            file.write(text.encode())
            file.flush()
            self.size += len(text.encode())

    @contextmanager
    def _lost_on_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._lost = True
            with suppress(OSError):  # a full disk may have taken half a line
                os.truncate(str(self.path), self.size)
            self._warn(f"The journal {self.path} cannot be written ({error}); training goes on without it.")

    def state_dict(self) -> dict[str, Any]:
        """Where the file is and how long, so that a resumed run can cut it back to here."""
        return {"path": str(self.path) if self.path else None, "size": self.size}


def _cut_back(path: Path, size: int) -> int:
    """Truncate to ``size`` bytes, or to the last whole line where the file is shorter; returns the new length."""
    with path.open("r+b") as file:
        length = min(size, file.seek(0, os.SEEK_END))
        file.seek(0)
        kept = file.read(length).rfind(b"\n") + 1
        file.truncate(kept)
    return kept


def _reserved(path: Path) -> Path:
    """An empty file of that name, or of the next free one: a former run's journal is not overwritten."""
    number, free = 1, path
    while not _made(free):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _made(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def journal_path(given: str | None, loggers: list[Any], default_root_dir: str, name: str | None) -> Path | None:
    """Where the journal goes: what the user gave, else beside the first logger that has a folder, else the root folder.

    Args:
        given: the user's own path.
        loggers: ``trainer.loggers``.
        default_root_dir: ``trainer.default_root_dir``; the working directory means that the user gave none.
        name: the instance's name, where there are several.
    """
    if given is not None:
        return Path(given).absolute()
    file = f"{NAME}_{name}.jsonl" if name else f"{NAME}.jsonl"
    for logger in loggers:
        folder = getattr(logger, "log_dir", None)
        if isinstance(folder, (str, os.PathLike)):
            return Path(folder).absolute() / file
    root = Path(default_root_dir).absolute()
    return None if root == Path.cwd() else root / file
