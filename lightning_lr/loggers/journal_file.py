"""The journal as a file: opened, cut back on resume, one line a check, flushed at once.

A journal that cannot be written never stops a training: there is one warning, and everything that a decision depends on
is in the checkpoint anyway.

A checkpoint names the journal that a resumed run goes on with. It is believed only if that file lies in a folder of
this run, bears the name of a journal, and its first line has the id of the run that wrote the checkpoint. A journal
that was written to its end is not cut back either: an earlier checkpoint of it begins another run. In each of these
cases the run writes a journal of its own, with one warning; a run that is continued as another, with one sentence and
a copy of the checks before.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lightning_lr.engine.journal import is_header, read_header
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.text import plural
from lightning_lr.errors import JournalError
from lightning_lr.loggers.journal_storage import Storage, beside, is_remote, storage_at

NAME = "lr_journal"

RUN_ID, RUN_STATE = "run_id", "run_state"
"""Last keys of a file's first line: the run that it belongs to, and whether that came to its end."""

OPEN, DONE = "open", "done"
"""Of one length, since the one is written over the other."""


OUTSIDE = "it lies outside of the folders of this run"


@dataclass
class _Found:
    """A former journal, as it was found.

    Attributes:
        refused: why it is not touched; empty if it is that of this run.
        why: why it is left as it is although it is that of this run; empty if it may be cut back.
        first: its first line.
        kept: what is left of it once it is cut back.
        broken: whether its last line was cut off.
    """

    refused: str = ""
    why: str = ""
    first: bytes = b""
    kept: bytes = b""
    broken: bool = False


class JournalFile:
    """One run's journal; the same file through all of its resumptions.

    Args:
        path: where to write; ``None`` for no file.
        header: the first line.
        warn: called with a sentence where something cannot be done.
    """

    def __init__(self, path: str | os.PathLike[str] | None, header: str, warn: Callable[[str], None]) -> None:
        self.header = header
        self.lines = 0
        self.run_id = uuid.uuid4().hex
        self._storage: Storage | None = None if path is None else storage_at(path)
        self._size = 0
        self._mark_at: int | None = None
        self._last_header = ""
        self._warn = warn

    @property
    def path(self) -> str | None:
        """Where the file is; ``None`` if there is none."""
        return None if self._storage is None else self._storage.path

    @classmethod
    def begun(cls, path: str | os.PathLike[str] | None, header: str, warn: Callable[[str], None]) -> JournalFile:
        """A new journal, under the next free name if there is a file already."""
        journal = cls(path, header, warn)
        with journal._lost_on_error() as storage:
            if storage is not None:
                storage.reserve()
        return journal

    @classmethod
    def resumed(
        cls,
        state: Mapping[str, Any] | None,
        path: str | os.PathLike[str] | None,
        header: str,
        warn: Callable[[str], None],
        folders: Sequence[str | os.PathLike[str]] = (),
        say: Callable[[str], None] | None = None,
    ) -> JournalFile:
        """The journal of a run that goes on: the former file cut back to the checkpoint, else a new one at ``path``.

        It is cut back by lines, not by bytes: a resume from an earlier checkpoint may have written others in between.

        Args:
            state: what :meth:`state_dict` gave; ``None`` for a new run.
            path: where a new journal is written.
            header: the first line.
            warn: called with a sentence where something cannot be done.
            folders: those of this run, beside that of ``path``: a former journal elsewhere is read, not written.
            say: called with a sentence where a run is continued as another; default: as ``warn``.
        """
        if not state or not state.get("path"):
            return cls.begun(path, header, warn)
        former, lines = str(state["path"]), int(state["lines"])
        journal, found = cls(former, header, warn), _Found()
        own = [*folders, *([] if path is None else [_folder(path)])]
        inside = _is_inside(former, own)
        error: object = _refused(former, path, inside)
        if not error:
            try:
                found = journal._find(lines, str(state.get("run_id") or ""))
                error = found.refused
            except Exception as raised:  # of a disk, of the client of a remote one, or of what stands in the file
                error = raised
        why = found.why or ("" if inside else OUTSIDE)
        if not error and not why:
            with journal._lost_on_error():
                journal._cut_back(found, lines)
            return journal
        new = cls.begun(path, header, warn)
        begins = "there is no new one" if new.path is None else f"a new one begins at {new.path}"
        if error:
            warn(f"The journal {former} cannot be continued ({error}); {begins}.")
        else:
            (say or warn)(f"The journal {former} is not continued ({why}); {begins}, with a copy of the checks before.")
            new._begin_with(found.kept, journal)
        return new

    def _find(self, lines: int, run_id: str) -> _Found:
        """Read the file up to so many checks, or its last whole line; nothing is written."""
        assert self._storage is not None
        first = self._storage.first_line()
        if not run_id or _of_first(first, RUN_ID) != run_id:
            return _Found("it is not that of this run")
        self.run_id = run_id
        found, checks = _Found(first=first), 0
        for number, line in enumerate(self._storage.read().splitlines(keepends=True)):
            if not line.endswith(b"\n"):
                found.broken = True
                break
            # The first line always is a header, also of a record that is no journal of decisions.
            header = number == 0 or is_header(line[:100].decode(errors="replace"))
            checks += not header
            if self.lines < lines:
                found.kept += line
                self.lines += not header
                self._last_header = line.decode(errors="replace").rstrip("\n") if header else self._last_header
        if checks != lines and _of_first(first, RUN_STATE) == DONE:
            found.why = f"it was written to its end, {checks} checks, and the checkpoint is of {lines}"
        return found

    def _cut_back(self, found: _Found, lines: int) -> None:
        assert self._storage is not None
        self._storage.put(len(found.kept), b"")
        self._size = len(found.kept)
        self._mark_at = _mark_in(found.first) if found.kept else None
        self._mark(OPEN)
        self._warn_of(lines - self.lines, found.broken)

    def _begin_with(self, copied: bytes, former: JournalFile) -> None:
        """Take over the checks of a run that this one continues, under a header with the id of this run."""
        first, _, rest = copied.decode(errors="replace").partition("\n")
        first = first.replace(
            f'"{former.run_id}", "{RUN_STATE}": "{DONE}"', f'"{self.run_id}", "{RUN_STATE}": "{OPEN}"'
        )
        with self._lost_on_error() as storage:
            if storage is not None and copied:
                self._append(storage, f"{first}\n{rest}")
                self.lines, self._last_header = former.lines, former._last_header

    def _warn_of(self, missing: int, broken: bool) -> None:
        if broken and missing:
            self._warn(
                f"The journal {self.path} had lost its end; it was repaired to its last whole line, {self._size} bytes."
            )
        elif missing:
            self._warn(
                f"The journal {self.path} ends {missing} check{plural(missing)} before this checkpoint: a resume from "
                "an earlier one cut it back to there."
            )

    def write(self, line: str) -> None:
        """Append one line."""
        text = f"{self._header_line()}\n{line}\n" if self._header_due() else f"{line}\n"
        with self._lost_on_error() as storage:
            if storage is not None:
                self._append(storage, text)
                self.lines += 1
                self._last_header = self.header

    def read(self) -> list[str]:
        """Its lines; none if it cannot be read."""
        try:
            content = b"" if self._storage is None else self._storage.read()
        except Exception:  # of a disk, or of the client of a remote one
            return []
        return content.decode(errors="replace").splitlines()

    def flush(self) -> None:
        """Write what is held back: a checkpoint is about to say how many lines there are."""
        with self._lost_on_error() as storage:
            if storage is not None:
                storage.flush()

    def end(self) -> None:
        """The run is over: from now on no resume from an earlier checkpoint may cut the file."""
        self._mark(DONE)

    def _mark(self, state: str) -> None:
        """Write into the first line whether the run came to its end."""
        with self._lost_on_error() as storage:
            if storage is not None and self._mark_at is not None:
                storage.overwrite(self._mark_at, f'"{state}"'.encode())

    def _append(self, storage: Storage, text: str) -> None:
        written = text.encode()
        if not self._size:
            self._mark_at = _mark_in(written.partition(b"\n")[0])
        storage.put(self._size, written)
        self._size += len(written)

    def _header_line(self) -> str:
        comma = ", " if len(self.header) > len("{}") else ""
        return f"{self.header[:-1]}{comma}{_ids(self.run_id, OPEN)}}}"

    def _header_due(self) -> bool:
        """Whether the file has no header of these settings yet: it is new, or the run was resumed with others."""
        if not self._last_header:
            return True
        return self._last_header != self.header and _settings(self._last_header) != _settings(self.header)

    @contextmanager
    def _lost_on_error(self) -> Iterator[Storage | None]:
        try:
            yield self._storage
        except Exception as error:  # of a disk, or of the client of a remote one
            self._warn(f"The journal {self.path} cannot be written ({error}); training goes on without it.")
            self._storage = None

    def state_dict(self) -> dict[str, Any]:
        """Where the file is and how many checks it holds, so that a resumed run can cut it back to here."""
        path = self.path
        return {"path": path, "lines": self.lines, "run_id": None if path is None else self.run_id}


def _refused(former: str, path: str | os.PathLike[str] | None, inside: bool) -> str:
    """Why a path that a checkpoint names is not even read; empty if it is."""
    if path is not None and _resolved(former) == _resolved(path):
        return ""
    name = former.replace("\\", "/").rpartition("/")[2]
    patterns = (f"*{NAME}*.jsonl", *([] if path is None else [f"{_stem(path)}*"]))
    if not any(fnmatchcase(name, pattern) for pattern in patterns):
        return "it has not the name of a journal"
    return OUTSIDE if is_remote(former) and not inside else ""


def _is_inside(path: str, folders: Sequence[str | os.PathLike[str]]) -> bool:
    return any(_resolved(path).startswith(_resolved(folder).rstrip("/") + "/") for folder in folders)


def _resolved(path: str | os.PathLike[str]) -> str:
    return str(path) if is_remote(path) else Path(path).resolve().as_posix()


def _folder(path: str | os.PathLike[str]) -> str:
    return str(path).rpartition("/")[0] if is_remote(path) else str(Path(path).parent)


def _stem(path: str | os.PathLike[str]) -> str:
    return str(path).replace("\\", "/").rpartition("/")[2].rpartition(".")[0]


def _ids(run_id: str, state: str) -> str:
    """The end of a file's first line."""
    return f'"{RUN_ID}": "{run_id}", "{RUN_STATE}": "{state}"'


def _of_first(line: bytes, key: str) -> Any:
    """A value of a file's first line; ``None`` if it has none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record.get(key) if isinstance(record, dict) else None


def _mark_in(line: bytes) -> int | None:
    """Where the first line says whether the run came to its end."""
    key = f'"{RUN_STATE}": '.encode()
    at = line.rfind(key)
    return None if at < 0 else at + len(key)


def _settings(header: str) -> Settings | None:
    try:
        return read_header(header)[0] if header else None
    except JournalError:
        return None


def journal_path(
    given: str | os.PathLike[str] | None, loggers: list[Any], default_root_dir: str, name: str | None
) -> str | None:
    """Where the journal goes: what the user gave, else beside the first logger that has a folder, else the root folder.

    Args:
        given: the user's own path.
        loggers: ``trainer.loggers``.
        default_root_dir: ``trainer.default_root_dir``; the working directory means that the user gave none.
        name: the instance's name, where there are several.
    """
    if given is not None:
        return str(given) if is_remote(given) else str(Path(given).absolute())
    file = f"{NAME}_{name}.jsonl" if name else f"{NAME}.jsonl"
    for logger in loggers:
        folder = _attribute(logger, "log_dir")
        if folder is not None:
            return beside(folder, file)
    if not is_remote(default_root_dir) and Path(default_root_dir).absolute() == Path.cwd():
        return None
    return beside(default_root_dir, file)


def folders_of_run(loggers: Sequence[Any], default_root_dir: str, checkpoint: Any = None) -> list[str]:
    """The folders that this run writes to, in which a former journal of it may lie.

    Args:
        loggers: ``trainer.loggers``.
        default_root_dir: ``trainer.default_root_dir``.
        checkpoint: the one that is resumed from; Lightning writes it two folders below the run's own.
    """
    named = [_attribute(logger, name) for logger in loggers for name in ("save_dir", "root_dir", "log_dir")]
    if checkpoint is not None and not is_remote(checkpoint):
        named += map(str, [*Path(checkpoint).resolve().parents][:2])
    return [folder for folder in [*named, str(default_root_dir)] if folder is not None]


def _attribute(logger: Any, name: str) -> str | None:
    """A folder of a logger; ``None`` if it has none, or fails to say."""
    try:
        folder = getattr(logger, name, None)
    except Exception:  # a property of someone else's class
        return None
    return str(folder) if isinstance(folder, (str, Path)) else None  # a mock has any attribute, and is an os.PathLike
