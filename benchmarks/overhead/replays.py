"""Point 5 of the replay: 100,000 checks, from each kind of file, in time and in memory."""

from __future__ import annotations

import csv
import json
import math
import random
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import thread_time
from typing import Any

from benchmarks.overhead.checks import FedEngine
from benchmarks.overhead.figures import Figure, paired, shown
from lightning_lr.engine.journal import entry_line, header_line
from lightning_lr.engine.records import Adjustment, JournalEntry
from lightning_lr.engine.settings import Settings, settings_from
from lightning_lr.offline.logs.sources import open_run
from lightning_lr.offline.replay.replay import Replayer, replay

CHECKS = 100_000
LIMIT = 2.0


@dataclass(frozen=True)
class Source:
    """A kind of file.

    Attributes:
        name: as it is shown.
        write: makes the file of so many checks in a folder.
        bare: reads it, and does nothing with it: what no replay can be faster than.
    """

    name: str
    write: Callable[[Path, int], Path]
    bare: Callable[[Path], Any]


def values(check: int, chance: random.Random) -> tuple[float, float]:
    """Training and validation loss: a descent that goes on, slower and slower, in noise of one percent."""
    level = 0.5 + 10 / math.sqrt(check + 10)
    return level * (1 + 0.01 * chance.random()), level * (1.1 + 0.01 * chance.random())


def write_csv(folder: Path, checks: int) -> Path:
    """As CSVLogger does: a row for the validation, and one for the epoch's training loss."""
    chance, path = random.Random(0), folder / "metrics.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["epoch", "lr-SGD", "step", "train_loss_epoch", "val_loss"])
        for check in range(checks):
            train, held_out = values(check, chance)
            table.writerow([check, "", 10 * check + 9, "", held_out])
            table.writerow([check, 0.1, 10 * check + 9, train, ""])
    return path


def write_events(folder: Path, checks: int) -> Path:
    """As TensorBoardLogger does: an event for each scalar."""
    from tests.helpers.logs import write_events as write

    chance = random.Random(0)

    def scalars(check: int) -> dict[str, float]:
        train, held_out = values(check, chance)
        return {"val_loss": held_out, "train_loss_epoch": train, "lr-SGD": 0.1, "epoch": float(check)}

    return write(folder, ((10 * check + 9, scalars(check)) for check in range(checks)))


def write_journal(folder: Path, checks: int) -> Path:
    """Ours, of one monitor and a training loss of 32 blocks a check."""
    fed, path = FedEngine(("val_loss",), patience=10**9), folder / "lr_journal.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.write(header_line(fed.engine.settings, {}) + "\n")
        for _ in range(checks):
            reading = fed.reading()
            decision, done = fed.engine.check(reading), Adjustment(reading.rates)
            assert fed.engine.views is not None
            assert fed.engine.diagnosis is not None
            entry = JournalEntry(reading, fed.engine.views, fed.engine.diagnosis, decision, done)
            file.write(entry_line(entry) + "\n")
    return path


def _bare_csv(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            [float(cell) for cell in row if cell and cell[0].isdigit()]


def _bare_events(path: Path) -> None:
    """The framing, and TensorBoard's own protocol buffers."""
    from tensorboard.compat.proto.event_pb2 import Event

    with path.open("rb") as file:
        while header := file.read(12):
            Event.FromString(file.read(int.from_bytes(header[:8], "little")))
            file.read(4)


def _bare_journal(path: Path) -> None:
    with path.open(encoding="utf-8") as file:
        for line in file:
            json.loads(line)


SOURCES = (
    Source("CSVLogger's table", write_csv, _bare_csv),
    Source("TensorBoard event files", write_events, _bare_events),
    Source("our journal, its own settings", write_journal, _bare_journal),
)


def replay_figures(quick: bool) -> Iterator[Figure]:
    """Bare reading, reading, and reading with decisions, in turn; CPU time."""
    checks, rounds = (5_000, 3) if quick else (CHECKS, 1)
    for source in SOURCES:
        with tempfile.TemporaryDirectory() as folder:
            path = source.write(Path(folder), checks)
            path = path if path.suffix else path.parent
            bare, read, whole = [], [], []
            for _ in range(rounds):
                bare.append(_timed(partial(source.bare, path)))
                read.append(_timed(partial(_lines, path)))
                whole.append(_timed(partial(_replayed, path)))
            took = min(whole) * CHECKS / checks
            yield Figure(
                key=f"replay/{source.name}",
                line=7,
                what=f"{CHECKS:,} checks of {source.name}: read and decided anew",
                over="a bare reading of the file",
                **paired([a / b for a, b in zip(whole, bare, strict=True)]),
                here=f"{shown(took)}, {shown(took / CHECKS)} a check; reading takes {shown(min(read) / checks)} of it, "
                f"bare reading {shown(min(bare) / checks)}",
                target="< 2 s",
                met=took < LIMIT,
            )
            grown = _grown(path, checks)
            yield Figure(
                key=f"replay/{source.name}/memory",
                line=7,
                what=f"memory that the second half of a replay of {source.name} adds",
                over="64 KB",
                ratio=grown / 2**16,
                low=grown / 2**16,
                high=grown / 2**16,
                pairs=1,
                here=f"{grown:+,} bytes in {min(5_000, checks // 2):,} checks",
                target="constant a check",
                met=grown < 2**16,
            )


def _timed(call: Callable[[], Any]) -> float:
    began = thread_time()
    call()
    return thread_time() - began


def _lines(path: Path) -> None:
    for _ in open_run(path).lines():
        pass


def _replayed(path: Path) -> None:
    run = open_run(path)
    for replayed in replay(run.lines(), [_replayer(run.settings, run.decided)]):
        if run.decided:
            assert str(replayed.decisions[0]) == str(replayed.line.decision)


def _replayer(settings: Settings, own: bool) -> Replayer:
    """The journal's own settings; else patience without end: a run that is stopped would be over too soon."""
    if own:
        return Replayer(settings)
    endless = settings_from(monitor=settings.monitors, mode=settings.mode.value, patience=10**9)
    return Replayer(endless, as_recorded=False)


def _grown(path: Path, checks: int) -> int:
    """Bytes that are there after the last check, and were not at the middle; what the table's columns take is read."""
    run = open_run(path)
    before, half = 0, checks // 2
    tracemalloc.start()
    try:
        for number, _ in enumerate(replay(run.lines(), [_replayer(run.settings, run.decided)])):
            if number == half:
                before = tracemalloc.get_traced_memory()[0]
            if number == min(half + 5_000, checks - 2):  # far more than any window; tracing is slow
                break
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
