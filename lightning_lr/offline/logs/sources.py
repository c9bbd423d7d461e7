"""The formats that can be read, and the run that lies at a path."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lightning_lr.errors import LogError
from lightning_lr.offline.logs import (
    csv_logs,
    event_files,
    journal_reader,
    mlflow_store,
    trainer_state,
    wandb_runs,
)
from lightning_lr.offline.logs.run import Run, Watch

DEEP = 4
"""Folders below the given one in which a run is looked for: ``lightning_logs/version_0`` is two."""


class Reader(Protocol):
    """One format: a module of this folder that fills a `Log` for `log_readings.logged_run`, named in `READERS`.

    Attributes:
        KIND: the format, in words.
        FILES: patterns of its files' paths below the folder of a run.
        TOGETHER: whether the files of one folder are one run; else each is.
    """

    KIND: str
    FILES: tuple[str, ...]
    TOGETHER: bool

    def recognizes(self, path: Path) -> bool:
        """Whether a file is of this format."""

    def read(self, paths: Sequence[Path], watch: Watch) -> Run:
        """The run of these files, which lie in one folder."""


READERS: tuple[Reader, ...] = (journal_reader, event_files, trainer_state, wandb_runs, mlflow_store, csv_logs)
"""In one folder an earlier format comes before a later one: it holds more."""


@dataclass(frozen=True)
class Found:
    """A run that lies somewhere, not yet read.

    Attributes:
        folder: where its files lie.
        reader: of its format.
        paths: its files.
    """

    folder: Path
    reader: Reader
    paths: tuple[Path, ...]

    @property
    def path(self) -> Path:
        """What names it: its folder, or its file where a folder may hold several runs."""
        return self.folder if self.reader.TOGETHER else self.paths[0]

    def open(self, watch: Watch | None = None) -> Run:
        """Read it, and decide what to watch.

        Raises:
            LogError: if it cannot be read.
            JournalError: if its journal cannot be read.
            MissingMetricError: if it does not hold what is to be watched.
        """
        try:
            run = self.reader.read(self.paths, watch or Watch())
            empty = next(run.lines(), None) is None
        except OSError as error:
            raise LogError(f"Expected a run at {self.path} but it cannot be read ({error.strerror}).") from error
        except (EOFError, OverflowError, zlib.error) as error:
            raise LogError(f"Expected a run at {self.path} but the file is damaged or cut off ({error}).") from error
        if empty:
            raise LogError(f"Expected checks in {run.path} but it holds none: there is nothing to replay.")
        return run


def open_run(path: str | Path, watch: Watch | None = None) -> Run:
    """Find the one run at a path, and decide what to watch.

    Raises:
        LogError: if there is none, or several, or none that can be read.
        JournalError: if its journal cannot be read.
        MissingMetricError: if it does not hold what is to be watched.
    """
    path = Path(path)
    runs = chosen_runs(path, find_runs(path))
    if len(runs) > 1:
        there = ", ".join(str(run.path.relative_to(path)) for run in runs[:6])
        more = f" and {len(runs) - 6} more" if len(runs) > 6 else ""
        raise LogError(f"Expected one run in {path} but it holds {len(runs)}: {there}{more}. Name one of them.")
    return runs[0].open(watch)


def chosen_runs(path: Path, runs: list[Found]) -> list[Found]:
    """Those that lie at the path itself, if any do: what lies below a run, a second logger's say, is no other run."""
    return [run for run in runs if run.folder == path] or runs


def find_runs(path: Path) -> list[Found]:
    """The runs at a path: of the file itself, or those in a folder and below it.

    Raises:
        LogError: if there is none.
    """
    formats = ", ".join(f"{r.KIND} ({r.FILES[0]}{' …' if len(r.FILES) > 1 else ''})" for r in READERS)
    if path.is_file():
        found: Reader | None = next((reader for reader in READERS if reader.recognizes(path)), None)
        if found is None and path.suffix in csv_logs.SUFFIXES:
            found = csv_logs  # which says what is missing
        if found is None:
            raise LogError(f"Expected one of {formats} but got {path}.")
        return [Found(path.parent, found, (path,))]
    if not path.is_dir():
        raise LogError(f"Expected a run at {path} but there is nothing.")
    runs = list(_runs_under(path, DEEP))
    if not runs:
        raise LogError(f"Expected one of {formats} in {path} but it holds none.")
    return runs


def _runs_under(folder: Path, deep: int) -> Iterator[Found]:
    """The runs of a folder, then those of the folders below it whose files are not part of these."""
    used: set[Path] = set()
    for reader in READERS:
        paths = [path for pattern in reader.FILES for path in sorted(folder.glob(pattern))]
        paths = [path for path in dict.fromkeys(paths) if path.is_file() and reader.recognizes(path)]
        if paths:
            for run in [paths] if reader.TOGETHER else [[path] for path in paths]:
                yield Found(folder, reader, tuple(run))
            used = {path.parent for path in paths}
            break
    for below in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        # W&B's `latest-run` is a link to one of its neighbours
        if deep and below not in used and not (below.is_symlink() and below.resolve().parent == folder.resolve()):
            yield from _runs_under(below, deep - 1)
