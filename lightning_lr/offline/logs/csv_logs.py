"""A CSVLogger's ``metrics.csv`` → columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning_lr.errors import LogError
from lightning_lr.offline.logs.columns import Log
from lightning_lr.offline.logs.log_readings import logged_run
from lightning_lr.offline.logs.run import Run, Watch

KIND = "CSVLogger's metrics.csv"
FILES = "metrics.csv"


def recognizes(path: Path) -> bool:
    """Any table; whether it has steps is seen when it is read."""
    return path.suffix == ".csv"


def read(paths: Sequence[Path], watch: Watch) -> Run:
    """Read a whole table, whichever columns it has; cells that are empty or no number are skipped.

    Raises:
        LogError: if it is no table of metrics with a column ``step``.
    """
    log, path = Log(), paths[0]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            names = next(rows, [])
            if "step" not in names:
                raise LogError(f"Expected a CSVLogger's metrics in {path} but it has no column 'step'.")
            place = names.index("step")
            for row in rows:
                numbers = dict(_numbers(row))
                if numbers.get(place, 0.5).is_integer():
                    for at, value in numbers.items():
                        if at != place and at < len(names):
                            log.add(names[at], int(numbers[place]), value)
    except (UnicodeDecodeError, csv.Error) as error:
        raise LogError(f"Expected a CSVLogger's metrics in {path} but it is no text table ({error}).") from error
    return logged_run(path, KIND, log, watch)


def _numbers(row: Sequence[str]) -> Iterator[tuple[int, float]]:
    for place, cell in enumerate(row):
        if cell:  # most are empty: each row holds what was logged by one call
            try:
                yield place, float(cell)
            except ValueError:
                continue
