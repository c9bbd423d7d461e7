"""A journal file → its records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_lr.core.journal import JournalLine, read_header, read_line
from lightning_lr.core.settings import Settings
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
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines:
        raise JournalError(f"Expected a journal in {path} but the file is empty.")
    number = 1
    try:
        settings, run = read_header(lines[0])
        checks = []
        for number, line in enumerate(lines[1:], start=2):
            checks.append(read_line(line))
    except JournalError as error:
        raise JournalError(f"{path}, line {number}: {error}") from error
    return Journal(settings, run, tuple(checks))
