"""The formats that can be read, and the run that lies at a path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from lightning_lr.errors import LogError
from lightning_lr.offline.logs import csv_logs, event_files, journal_reader
from lightning_lr.offline.logs.run import Run, Watch

DEEP = 4
"""Folders below the given one in which a run is looked for: ``lightning_logs/version_0`` is two."""


class Reader(Protocol):
    """One format: a module of this folder that fills a `Log` for `log_readings.logged_run`, named in `READERS`.

    Attributes:
        KIND: the format, in words.
        FILES: pattern of its files' names in the folder of a run.
    """

    KIND: str
    FILES: str

    def recognizes(self, path: Path) -> bool:
        """Whether a file is of this format."""

    def read(self, paths: Sequence[Path], watch: Watch) -> Run:
        """The run of these files, which lie in one folder."""


READERS: tuple[Reader, ...] = (journal_reader, event_files, csv_logs)
"""In one folder an earlier format comes before a later one: it holds more."""


def open_run(path: str | Path, watch: Watch | None = None) -> Run:
    """Find the run at a path, and decide what to watch.

    Raises:
        LogError: if there is none, or several, or none that can be read.
        JournalError: if its journal cannot be read.
        MissingMetricError: if it does not hold what is to be watched.
    """
    reader, paths = find_run(Path(path))
    try:
        run = reader.read(paths, watch or Watch())
        empty = next(run.lines(), None) is None
    except OSError as error:
        raise LogError(f"Expected a run at {path} but it cannot be read ({error.strerror}).") from error
    if empty:
        raise LogError(f"Expected checks in {run.path} but it holds none: there is nothing to replay.")
    return run


def find_run(path: Path) -> tuple[Reader, list[Path]]:
    """The format and the files of the run at a path: the file itself, or those of a folder, or of the one below it.

    Raises:
        LogError: if there is no run, or more than one.
    """
    formats = ", ".join(f"{reader.KIND} ({reader.FILES})" for reader in READERS)
    if path.is_file():
        found = next((reader for reader in READERS if reader.recognizes(path)), None)
        if found is None:
            raise LogError(f"Expected one of {formats} but got {path}.")
        return found, [path]
    if not path.is_dir():
        raise LogError(f"Expected a run at {path} but there is nothing.")
    runs = list(_runs_under(path, DEEP))
    if not runs:
        raise LogError(f"Expected one of {formats} in {path} but it holds none.")
    folders = [paths[0].parent for _, paths in runs]
    if len(runs) > 1 and folders[0] != path:
        there = ", ".join(str(folder.relative_to(path)) for folder in folders[:6])
        more = f" and {len(runs) - 6} more" if len(runs) > 6 else ""
        raise LogError(f"Expected one run in {path} but it holds {len(runs)}: {there}{more}. Name one of them.")
    return runs[0]


def _runs_under(folder: Path, deep: int) -> Iterator[tuple[Reader, list[Path]]]:
    for reader in READERS:
        paths = [path for path in sorted(folder.glob(reader.FILES)) if path.is_file() and reader.recognizes(path)]
        if paths:
            yield reader, paths
            break
    if deep:
        for below in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield from _runs_under(below, deep - 1)
