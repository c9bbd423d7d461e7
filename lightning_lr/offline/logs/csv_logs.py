"""A file of rows with one column a metric → columns: Lightning's and Keras' CSVLogger, fastai, W&B exports, by hand.

If no column counts the steps, the epochs do; if those do not go on from row to row either, the rows. JSON records and
text logs are read if the file itself is given: in a folder they lie beside a better log of the same run.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from lightning_lr.engine.history.metric_names import DATA, FALLS, RISES, words
from lightning_lr.errors import LogError
from lightning_lr.offline.logs.column_roles import epoch_name, step_name
from lightning_lr.offline.logs.columns import Log
from lightning_lr.offline.logs.log_readings import logged_run
from lightning_lr.offline.logs.run import Run, Watch
from lightning_lr.offline.logs.tables import TABLE, Table, number, open_table

KIND = TABLE
FILES: tuple[str, ...] = ("*.csv", "*.tsv", "*.log", "*.txt")
TOGETHER = False
SUFFIXES = frozenset({*(pattern[1:] for pattern in FILES), ".gz", ".json", ".jsonl", ".out"})
"""Endings of a file that is read if it is given."""

_OF_RUN = re.compile(r"(?P<run>.+?) - (?P<metric>.+)")
"""A column of a chart that W&B exports; the first one is its horizontal axis."""

_TAG = re.compile(r".*tag[-_](.+)")
"""Name of a file that TensorBoard's page exports: the metric is in it, not in the column."""


def recognizes(path: Path) -> bool:
    """By its names: metrics, and steps or epochs to put them at."""
    if path.suffix not in SUFFIXES:
        return False
    try:
        table = open_table(path)
    except (LogError, OSError):
        return False
    counts = epoch_name(table.names) or step_name(table.names)
    return table.kind == TABLE and bool(counts) and any(_is_metric(name) for name in table.names)


def _is_metric(name: str) -> bool:
    there = set(words(name))
    return bool(there & (FALLS | RISES)) or bool(there & DATA and len(there) > 1)


def read(paths: Sequence[Path], watch: Watch) -> Run:
    """Read a whole table, whichever columns it has; cells without a number are skipped.

    Raises:
        LogError: if it is no table of metrics, or one of several runs.
    """
    table = open_table(paths[0])
    if table.names and all(number(name) is not None for name in table.names):
        raise LogError(f"Expected a line of names in {table.path} but its first line holds numbers.")
    names = _of_one_run(table, watch)
    log, said = Log(), []
    steps, counted = _steps(table, names)
    if counted:
        said.append(counted)
    epoch, count = epoch_name(names), step_name(names)
    for step, row in zip(steps, table.rows(), strict=True):
        if step >= 0:
            for place, value in row.items():
                name = names[place]
                if name and name != count:
                    log.add("epoch" if name == epoch else name, step, value)
    if not log.columns:
        raise LogError(f"Expected a table of metrics in {table.path} but it has no numbers under names.")
    return logged_run(table.path, table.kind, log, watch, said)


def _steps(table: Table, names: Sequence[str]) -> tuple[Sequence[int], str]:
    """The step of each row, −1 for a row without one; and what was counted, if it was no step."""
    count, epoch = step_name(names), epoch_name(names)
    places = [names.index(name) if name else -1 for name in (count, epoch)]
    seen = [(row.get(places[0], 0.5), row.get(places[1], 0.5)) for row in table.rows()]
    counted, epochs = array("d", (step for step, _ in seen)), array("d", (epoch for _, epoch in seen))
    if count and any(map(float.is_integer, counted)) and not _begins_anew(counted, epochs):
        return array("q", (int(step) if step.is_integer() else -1 for step in counted)), ""
    whole = all(map(float.is_integer, epochs)) and all(a != b for a, b in pairwise(epochs))
    if epoch and whole and epochs:
        return array("q", map(int, epochs)), f"no column counts steps: {epoch} does"
    return range(len(seen)), "no column counts steps: the rows do"


def _begins_anew(steps: Sequence[float], epochs: Sequence[float]) -> bool:
    """Whether the steps are counted within each epoch."""
    both = zip(steps, epochs, strict=True)
    return any(now[0] < before[0] and now[1] > before[1] for before, now in pairwise(both))


def _of_one_run(table: Table, watch: Watch) -> Sequence[str]:
    """The names without that of the run, in a chart that W&B exports; empty for a column that is not wanted.

    Raises:
        LogError: if there are several runs, and the user has not said what to watch.
    """
    found = [_OF_RUN.fullmatch(name) for name in table.names]
    if [name.lower() for name in table.names] == ["wall time", "step", "value"]:
        tag = _TAG.fullmatch(table.path.stem)
        return [*table.names[:2], tag[1] if tag else table.names[2]]
    if not all(found[1:]) or len(found) < 2:
        return table.names
    runs = list(dict.fromkeys(match["run"] for match in found if match))
    if len(runs) > 1 and not watch.monitors:
        raise LogError(
            f"Expected one run in {table.path} but it holds {len(runs)}: {', '.join(runs[:6])}. Export them one by "
            "one, or name a column with --monitor."
        )
    if len(runs) > 1:
        return table.names
    names = [match["metric"] if match else name for match, name in zip(found, table.names, strict=True)]
    return ["" if name.endswith(("__MIN", "__MAX")) else name for name in names]
