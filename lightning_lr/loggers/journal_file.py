"""The journal as a file: opened, cut back on resume, one line a check, flushed at once.

A journal that cannot be written never stops a training: there is one warning, and everything that a decision depends on
is in the checkpoint anyway.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_lr.engine.journal import is_header, read_header
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.text import plural
from lightning_lr.errors import JournalError

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
        self.lines = 0
        self.header = header
        self._former = ""
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
        """The journal of a run that goes on: the former file cut back to the checkpoint, else a new one at ``path``.

        It is cut back by lines, not by bytes: a resume from an earlier checkpoint may have written others in between.
        """
        if not state or not state.get("path"):
            return cls.begun(path, header, warn)
        former = Path(state["path"])
        try:
            kept = _cut_back(former, int(state["lines"]))
        except OSError as error:
            warn(f"The journal {former} cannot be continued ({error}); a new one begins at {path}.")
            return cls.begun(path, header, warn)
        missing = int(state["lines"]) - kept.lines
        if kept.broken and missing:
            warn(f"The journal {former} had lost its end; it was repaired to its last whole line, {kept.size} bytes.")
        elif missing:
            warn(
                f"The journal {former} ends {missing} check{plural(missing)} before this checkpoint: a resume from an "
                "earlier one cut it back to there."
            )
        journal = cls(former, header, warn)
        journal.size, journal.lines, journal._former = kept.size, kept.lines, kept.header
        return journal

    def write(self, line: str) -> None:
        """Append one line."""
        if self._lost or self.path is None:
            return
        text = f"{self.header}\n{line}\n" if self._header_due() else f"{line}\n"
        with self._lost_on_error(), self.path.open("ab") as file:
            file.truncate(self.size)
            file.write(text.encode())
            file.flush()
            self.size += len(text.encode())
            self.lines += 1
            self._former = self.header

    def _header_due(self) -> bool:
        """Whether the file has no header of these settings yet: it is new, or the run was resumed with others."""
        if not self._former:
            return True
        return self._former != self.header and _settings(self._former) != _settings(self.header)

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
        """Where the file is and how many checks it holds, so that a resumed run can cut it back to here."""
        return {"path": str(self.path) if self.path else None, "lines": self.lines}


def _settings(header: str) -> Settings | None:
    try:
        return read_header(header)[0] if header else None
    except JournalError:
        return None


@dataclass
class Kept:
    """What is left of a journal that was cut back.

    Attributes:
        size: bytes.
        lines: checks.
        header: the last header.
        broken: whether it ended in the middle of a line before.
    """

    size: int = 0
    lines: int = 0
    header: str = ""
    broken: bool = False


def _cut_back(path: Path, lines: int) -> Kept:
    """Truncate a journal behind so many checks, or behind its last whole line where it has fewer."""
    kept = Kept()
    with path.open("r+b") as file:
        for line in file:
            kept.broken = not line.endswith(b"\n")
            if kept.broken or kept.lines == lines:
                break
            # The first line always is one, also of a record that is no journal of decisions.
            header = not kept.size or is_header(line[:100].decode(errors="replace"))
            kept.size += len(line)
            kept.lines += not header
            kept.header = line.decode(errors="replace").rstrip("\n") if header else kept.header
        file.truncate(kept.size)
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
