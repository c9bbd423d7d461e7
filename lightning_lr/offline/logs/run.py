"""What is asked of a recorded run, and what is known of it, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.settings import Settings


@dataclass(frozen=True)
class Watch:
    """What to watch in a run; the defaults leave it to the run's journal, or to the rule of `monitors`.

    Attributes:
        monitors: metric names.
        mode: direction in which they are better.
        train: metric with the training loss.
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
        kind: its format, in words.
        settings: those of the journal, else the default policy with the monitors that were chosen.
        lines: the checks, each time from the first on.
        chosen: what was found and chosen, one sentence each.
        decided: whether the decisions and their reasons are recorded: a journal.
        present: whether our callback was in the run: a journal, or a log with numbers of ours.
        header: what else the journal's header says of the run.
    """

    path: Path
    kind: str
    settings: Settings
    lines: Callable[[], Iterator[JournalLine]]
    chosen: tuple[str, ...]
    decided: bool = False
    present: bool = False
    header: dict[str, Any] = field(default_factory=dict)
