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
        self.header = header
        self.lines = 0
        self._size = 0
        self._last_header = ""
        self._warn = warn
        self._lost = path is None

    @classmethod
    def begun(cls, path: Path | None, header: str, warn: Callable[[str], None]) -> JournalFile:
        """A new journal, under the next free name if there is a file already.

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
        former, lines = Path(state["path"]), int(state["lines"])
        journal = cls(former, header, warn)
        try:
            broken = journal._cut_back(former, lines)
        except OSError as error:
            warn(f"The journal {former} cannot be continued ({error}); a new one begins at {path}.")
            return cls.begun(path, header, warn)
        missing = lines - journal.lines
        if broken and missing:
            warn(
                f"The journal {former} had lost its end; it was repaired to its last whole line, {journal._size} bytes."
            )
        elif missing:
            warn(
                f"The journal {former} ends {missing} check{plural(missing)} before this checkpoint: a resume from an "
                "earlier one cut it back to there."
            )
        return journal

    def _cut_back(self, path: Path, lines: int) -> bool:
        """Truncate the file behind so many checks, or its last whole line; returns whether it ended within a line."""
        broken = False
        with path.open("r+b") as file:
            for line in file:
                broken = not line.endswith(b"\n")
                if broken or self.lines == lines:
                    break
                # The first line always is a header, also of a record that is no journal of decisions.
                if not self._size or is_header(line[:100].decode(errors="replace")):
                    self._last_header = line.decode(errors="replace").rstrip("\n")
                else:
                    self.lines += 1
                self._size += len(line)
            file.truncate(self._size)
        return broken

    def write(self, line: str) -> None:
        """Append one line."""
        if self._lost or self.path is None:
            return
        text = f"{self.header}\n{line}\n" if self._header_due() else f"{line}\n"
        with self._lost_on_error(), self.path.open("ab") as file:
            file.truncate(self._size)
            file.write(text.encode())
            file.flush()
            self._size += len(text.encode())
            self.lines += 1
            self._last_header = self.header

    def _header_due(self) -> bool:
        """Whether the file has no header of these settings yet: it is new, or the run was resumed with others."""
        if not self._last_header:
            return True
        return self._last_header != self.header and _settings(self._last_header) != _settings(self.header)

    @contextmanager
    def _lost_on_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._lost = True
            with suppress(OSError):  # a full disk may have taken half a line
                os.truncate(str(self.path), self._size)
            self._warn(f"The journal {self.path} cannot be written ({error}); training goes on without it.")

    def state_dict(self) -> dict[str, Any]:
        """Where the file is and how many checks it holds, so that a resumed run can cut it back to here."""
        return {"path": str(self.path) if self.path else None, "lines": self.lines}


def _settings(header: str) -> Settings | None:
    try:
        return read_header(header)[0] if header else None
    except JournalError:
        return None


def _reserved(path: Path) -> Path:
    """An empty file of that name, or of the next free one: a former run's journal is not overwritten."""
    number, free = 1, path
    while True:
        with suppress(FileExistsError):
            free.touch(exist_ok=False)
            return free
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")


def journal_path(
    given: str | os.PathLike[str] | None, loggers: list[Any], default_root_dir: str, name: str | None
) -> Path | None:
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
        if isinstance(folder, (str, Path)):  # a mock has any attribute, and is an `os.PathLike`
            return Path(folder).absolute() / file
    root = Path(default_root_dir).absolute()
    return None if root == Path.cwd() else root / file
