"""Any run → its readings: our journal, a CSVLogger's folder, TensorBoard event files.

:func:`open_run` finds out what lies at a path, and answers with a :class:`Run`, which is the same for all three. In one
folder the journal comes before the event files, and these before the table: it holds most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_lr.engine.detectors.base import RecordedDetector
from lightning_lr.engine.history.direction import doubt
from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.log_tags import is_ours
from lightning_lr.engine.settings import Settings, settings_from
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Mode
from lightning_lr.errors import LogError, MissingMetricError
from lightning_lr.offline.logs.columns import Log
from lightning_lr.offline.logs.csv_logs import NAME as CSV_NAME
from lightning_lr.offline.logs.csv_logs import read_csv
from lightning_lr.offline.logs.event_files import MARK, event_files, read_events
from lightning_lr.offline.logs.journal_reader import journal_header, journal_lines
from lightning_lr.offline.logs.log_readings import log_lines
from lightning_lr.offline.logs.monitors import choose

DEEP = 4
"""Folders below the given one in which a run is looked for: ``lightning_logs/version_0`` is two."""


@dataclass(frozen=True)
class Watch:
    """What to watch in a run; all of it may be left open.

    Attributes:
        monitors: metric names; empty: the rule chooses.
        mode: direction in which they are better.
        train: metric with the training loss; ``None``: the rule chooses.
        train_monitor: metric that is compared with the monitor in place of the training loss.
        partial: read a file that breaks off up to that place.
    """

    monitors: tuple[str, ...] = ()
    mode: str | None = None
    train: str | None = None
    train_monitor: str | None = None
    partial: bool = False


@dataclass(frozen=True)
class Run:
    """A recorded run.

    Attributes:
        path: the journal, or the folder or file of the logger.
        kind: what it is, in words.
        settings: those of the journal, else the default policy with the monitors that were chosen.
        decided: whether the recorded decisions are ours: a journal.
        present: whether our callback was in the run: a journal, or a log with numbers of ours.
        said: what was found and chosen, one sentence each.
        summary: what the journal's header tells of the run.
        lines: the checks, each time from the first on.
    """

    path: Path
    kind: str
    settings: Settings
    decided: bool
    present: bool
    said: tuple[str, ...]
    summary: dict[str, Any]
    lines: Callable[[], Iterator[JournalLine]]


def open_run(path: str | Path, watch: Watch | None = None) -> Run:
    """Find the run at a path, and decide what to watch.

    Raises:
        LogError: where there is none, or several, or none that can be read.
        JournalError: where its journal cannot be read.
        MissingMetricError: where it does not hold what is to be watched.
    """
    watch = watch or Watch()
    found = find_run(Path(path))
    try:
        if found[0].suffix == ".jsonl":
            return _journal_run(found[0], watch)
        log = read_csv(found[0]) if found[0].suffix == ".csv" else read_events(found, watch.partial)
    except OSError as error:
        raise LogError(f"Expected a run at {path} but it cannot be read ({error.strerror}).") from error
    return _log_run(found[0] if len(found) == 1 else found[0].parent, log, watch)


def find_run(path: Path) -> list[Path]:
    """The files of the run at a path: one journal, one table, or all event files of a folder.

    Raises:
        LogError: where there is no run, or more than one.
    """
    if path.is_file():
        if path.suffix not in {".jsonl", ".csv"} and MARK not in path.name:
            raise LogError(f"Expected a journal (.jsonl), a metrics.csv or a TensorBoard event file but got {path}.")
        return [path]
    if not path.is_dir():
        raise LogError(f"Expected a run at {path} but there is nothing.")
    runs = [files for folder in _folders(path, DEEP) if (files := _files(folder))]
    if not runs:
        raise LogError(f"Expected a run in {path} but it holds no journal, no metrics.csv and no event file.")
    if len(runs) > 1 and runs[0][0].parent != path:
        there = ", ".join(str(files[0].parent.relative_to(path)) for files in runs[:6])
        more = f" and {len(runs) - 6} more" if len(runs) > 6 else ""
        raise LogError(f"Expected one run in {path} but it holds {len(runs)}: {there}{more}. Name one of them.")
    return runs[0]


def _folders(path: Path, deep: int) -> Iterator[Path]:
    yield path
    if deep:
        for below in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
            yield from _folders(below, deep - 1)


def _files(folder: Path) -> list[Path]:
    journals = sorted(folder.glob("lr_journal*.jsonl"), key=lambda p: (p.stat().st_mtime_ns, p.name))
    events, table = event_files(folder), folder / CSV_NAME
    return journals[-1:] or events or ([table] if table.is_file() else [])


def _journal_run(path: Path, watch: Watch) -> Run:
    settings, summary = journal_header(path)
    strange = [name for name in watch.monitors if name not in settings.monitors]
    if strange:
        raise MissingMetricError(
            f"Expected a metric {strange[0]!r} in {path} but the journal holds {', '.join(settings.monitors)} only. "
            "The logger's own files may hold it: give one of them in place of the folder."
        )
    chosen = replace(settings, monitors=watch.monitors or settings.monitors, mode=Mode(watch.mode or settings.mode))
    said = f"monitor{plural(len(chosen.monitors))} {', '.join(chosen.monitors)} ({chosen.mode}), as the journal says"
    lines = _not_empty(path, lambda: journal_lines(path, watch.partial))
    first = next(lines()).reading.check
    later = [f"it begins at check {first}: a replay does not know what came before, and may differ at first"]
    missing = [
        f"the detector {one.name} is not available here: a replay does not find {one.condition}"
        for one in settings.detectors
        if isinstance(one, RecordedDetector)
    ]
    return Run(path, "journal", chosen, True, True, (said, *missing, *(later if first else [])), summary, lines)


def _log_run(path: Path, log: Log, watch: Watch) -> Run:
    choice = choose(log.columns, watch.monitors, watch.train, str(path))
    if watch.train_monitor:
        choose(log.columns, [watch.train_monitor], where=str(path))
    settings = settings_from(monitor=choice.monitors, mode=watch.mode or "min", train_monitor=watch.train_monitor)
    said = [f"{choice.sentence}, mode {settings.mode}"]
    said += filter(None, (doubt(name, settings.mode) for name in settings.monitors if watch.mode is None))
    if "epoch" not in log.columns:
        said.append("no scalar 'epoch' was logged: each check counts as one epoch")
    if log.restarts:
        said.append(f"the run was resumed {log.restarts} time{plural(log.restarts)}; the steps logged last count")
    lines = _not_empty(path, lambda: log_lines(log, choice, watch.train_monitor))
    present = any(map(is_ours, log.columns))
    return Run(path, log.kind, settings, False, present, tuple(said), {}, lines)


def _not_empty(path: Path, lines: Callable[[], Iterator[JournalLine]]) -> Callable[[], Iterator[JournalLine]]:
    """Look at the first check now, so that an empty run is found before anything is written."""
    if next(lines(), None) is None:
        raise LogError(f"Expected checks in {path} but it holds none: there is nothing to replay.")
    return lines
