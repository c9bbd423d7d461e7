"""A journal file → its records, at once or one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_lr.engine.journal import JournalLine, is_header, read_header, read_line
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.text import plural
from lightning_lr.engine.vocabulary import Mode
from lightning_lr.errors import JournalError, MissingMetricError
from lightning_lr.offline.logs.run import Run, Watch

KIND = "journal"
FILES: tuple[str, ...] = ("lr_journal*.jsonl",)
TOGETHER = True


@dataclass(frozen=True)
class Journal:
    """A whole journal.

    Attributes:
        settings: what the engine was configured with.
        run: what else the header says of the run.
        lines: the checks, in order.
    """

    settings: Settings
    run: dict[str, Any]
    lines: tuple[JournalLine, ...]


def recognizes(path: Path) -> bool:
    """By its name, or by the schema that its first line names."""
    if path.suffix != ".jsonl":
        return False
    with path.open("rb") as file:
        return path.name.startswith("lr_journal") or b'"schema"' in file.readline(1 << 16)


def read(paths: Sequence[Path], watch: Watch) -> Run:
    """The newest journal of a folder, as a run; its checks are read one after the other.

    Raises:
        JournalError: if its header or its first check cannot be read.
        MissingMetricError: if it does not hold a monitor that is to be watched.
    """
    path = max(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))
    settings, header = journal_header(path)
    strange = [name for name in watch.monitors if name not in settings.monitors]
    if strange:
        raise MissingMetricError(
            f"Expected a metric {strange[0]!r} in {path} but the journal holds {', '.join(settings.monitors)} only. "
            "The logger's own files may hold it: give one of them in place of the folder."
        )
    settings = replace(settings, monitors=watch.monitors or settings.monitors, mode=Mode(watch.mode or settings.mode))
    names = ", ".join(settings.monitors)
    chosen = [f"monitor{plural(len(settings.monitors))} {names} ({settings.mode}), as the journal says"]
    first = next((line.reading.check for line in journal_lines(path, watch.partial)), 0)
    if first:
        chosen.append(f"it begins at check {first}: a replay does not know what came before, and may differ at first")
    return Run(path, KIND, settings, lambda: journal_lines(path, watch.partial), tuple(chosen), True, True, header)


def read_journal(path: Path) -> Journal:
    """Read a whole journal.

    Raises:
        JournalError: if a line cannot be read; the message names file and line.
    """
    settings, run = journal_header(path)
    return Journal(settings, run, tuple(journal_lines(path)))


def journal_header(path: Path) -> tuple[Settings, dict[str, Any]]:
    """Settings and description of the run, from the first line alone.

    Raises:
        JournalError: if the file is empty, or begins with anything else.
    """
    _, first = next(_numbered(path), (1, ""))
    if not first:
        raise JournalError(f"Expected a journal in {path} but the file is empty.")
    try:
        return read_header(first)
    except JournalError as error:
        raise JournalError(f"{path}, line 1: {error}") from error


def journal_lines(path: Path, partial: bool = False) -> Iterator[JournalLine]:
    """The checks, one after the other: memory does not grow with the run.

    Args:
        path: the journal.
        partial: leave out the last line if it was cut off.

    Raises:
        JournalError: if a line cannot be read; the message names file and line.
    """
    changed: Settings | None = None
    for number, line in _numbered(path):
        if number == 1:
            continue
        if partial and not line.endswith("\n"):
            return
        try:
            if is_header(line):
                changed, _ = read_header(line)
                continue
            read = read_line(line)
        except JournalError as error:
            raise JournalError(f"{path}, line {number}: {error}") from error
        yield read if changed is None else replace(read, settings=changed)
        changed = None


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from enumerate(file, start=1)
    except UnicodeDecodeError as error:
        raise JournalError(f"Expected a journal in {path} but it is no text.") from error
    except OSError as error:
        raise JournalError(f"Expected a journal in {path} but it cannot be read ({error}).") from error
