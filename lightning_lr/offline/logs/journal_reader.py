"""A journal file → its records, at once or one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_lr.engine.journal import JournalLine, is_header, read_header, read_line
from lightning_lr.engine.settings import Settings
from lightning_lr.errors import JournalError


@dataclass(frozen=True)
class Journal:
    """A run as its journal tells it.

    Attributes:
        settings: what the core was configured with.
        run: what else the header tells of the run.
        lines: the checks, in order.
    """

    settings: Settings
    run: dict[str, Any]
    lines: tuple[JournalLine, ...]


def read_journal(path: Path) -> Journal:
    """Read a whole journal.

    Raises:
        JournalError: where a line cannot be read; the message names file and line.
    """
    settings, run = journal_header(path)
    return Journal(settings, run, tuple(journal_lines(path)))


def journal_header(path: Path) -> tuple[Settings, dict[str, Any]]:
    """Settings and description of the run, from the first line alone.

    Raises:
        JournalError: where the file is empty, or begins with anything else.
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
        partial: end quietly where the last line was cut off.

    Raises:
        JournalError: where a line cannot be read; the message names file and line.
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
