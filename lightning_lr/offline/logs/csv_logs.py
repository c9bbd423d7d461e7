"""A CSVLogger's ``metrics.csv`` → columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from lightning_lr.errors import LogError
from lightning_lr.offline.logs.columns import Log

NAME = "metrics.csv"


def read_csv(path: Path) -> Log:
    """Read a whole file, whichever columns it has; cells that are empty or no number are skipped.

    Raises:
        LogError: where it is no table of metrics with a column ``step``.
    """
    log = Log("CSVLogger's metrics.csv", (path,))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            names = next(rows, [])
            if "step" not in names:
                raise LogError(f"Expected a CSVLogger's metrics in {path} but it has no column 'step'.")
            _take_all(log, names, rows)
    except (UnicodeDecodeError, csv.Error) as error:
        raise LogError(f"Expected a CSVLogger's metrics in {path} but it is no text table ({error}).") from error
    return log


def _take_all(log: Log, names: list[str], rows: Iterable[list[str]]) -> None:
    place = names.index("step")
    named = [(at, name) for at, name in enumerate(names) if name != "step"]
    for row in rows:
        step = _number(row[place]) if place < len(row) else None
        if step is None or not step.is_integer():
            continue
        for at, name in named:
            # Most cells are empty: each row holds what was logged by one call.
            if at < len(row) and row[at] and (value := _number(row[at])) is not None:
                log.add(name, int(step), value)


def _number(cell: str) -> float | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return None
