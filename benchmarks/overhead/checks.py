"""Line 2: a decision of the engine, from the 10th to the 1,000,000th check, and what is kept of a run."""

from __future__ import annotations

import gc
import io
import math
import random
import tracemalloc
from collections.abc import Iterator
from functools import partial
from statistics import median

import torch

from benchmarks.overhead.figures import Figure, alternately, over, paired, shown, undisturbed, yardstick
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.records import Rate, Reading, TrainWindow
from lightning_lr.engine.settings import settings_from
from lightning_lr.loggers.decision_history import DecisionHistory

MONITORS = ("val_loss", "val_loss/dataloader_idx_1", "val_loss/dataloader_idx_2")
BLOCKS = 32
LIMIT = 64 * 1024


class FedEngine:
    """An engine that is fed: a noisy descent to a floor, of all detectors' windows full, and decisions now and then."""

    def __init__(self, monitors: tuple[str, ...] = MONITORS, patience: int = 50) -> None:
        self.monitors = monitors
        self.engine = DecisionEngine(
            settings_from(monitor=list(monitors), mode="min", policy="auto", patience=patience)
        )
        self.chance, self.check = random.Random(0), 0
        self.history = DecisionHistory()

    def reading(self) -> Reading:
        """The next one."""
        level = 0.5 + math.exp(-self.check / 100)
        values = [level * (1 + 0.01 * self.chance.random()) for _ in range(BLOCKS)]
        metrics = {name: level * (1.1 + 0.01 * self.chance.random()) for name in self.monitors}
        rates = {"lr-SGD": Rate(0.1, 1.0, 0.1)}
        window = TrainWindow(sum(values) / BLOCKS, tuple(values), steps=1000)
        self.check += 1
        return Reading(self.check - 1, self.check - 1, 1000 * self.check, metrics, window, rates=rates)

    def step(self) -> None:
        """One check."""
        decision = self.engine.check(self.reading())
        if decision.action != "hold":
            self.history.add(decision)

    def run(self, checks: int) -> FedEngine:
        """Several."""
        for _ in range(checks):
            self.step()
        return self


def check_figures(quick: bool) -> Iterator[Figure]:
    """An engine in its prime and an old one side by side: does a check grow slower, or what is kept larger?"""
    last = 20_000 if quick else 1_000_000
    full, old = FedEngine().run(1000), FedEngine().run(1000)
    # An old run, without living through it: the state of a run is plain, and only its counters know how long it was.
    old.check = last
    old.run(100)
    grown = grown_bytes(last)
    rounds = 30 if quick else 300
    # The making of a reading is not the engine's: its time is taken off.
    other = FedEngine()
    calls = {
        "yardstick": yardstick,
        "reading": other.reading,
        "full": full.step,
        "old": old.step,
        "told": partial(_told, FedEngine().run(1000)),
    }
    seconds = alternately(calls, rounds)
    timed = ("full", "old", "told")
    net = {name: [s - r for s, r in zip(seconds[name], seconds["reading"], strict=True)] for name in timed}
    net["yardstick"] = seconds["yardstick"]
    for name, said in (("full", ""), ("told", ", with its sentence and evidence")):
        took = undisturbed(net, name)
        yield Figure(
            key=f"engine/check/{name}",
            line=2,
            what=f"a decision of the engine, three monitors, all detectors, windows full{said}",
            over="a yardstick of plain Python",
            **paired(over(net, name, "yardstick")),
            here=shown(took),
            target="≤ 200 µs",
            met=took <= 200e-6,
        )
    flat = paired(over(net, "old", "full"))
    yield Figure(
        key="engine/flat",
        line=2,
        what=f"the {last:,}th check",
        over="the 1000th",
        **flat,
        here=f"{grown:+,} bytes of memory in 2000 checks",
        target="flat: within 10 %",
        met=flat["ratio"] < 1.1 and grown < 8 * 1024,
    )
    for monitors in (len(MONITORS), 50):
        yield from _lived_through(quick, monitors)


def grown_bytes(check: int, checks: int = 2000) -> int:
    """By how much memory grows over so many checks, that late in a run. Without decisions: they empty the windows."""
    fed = FedEngine(patience=10**9).run(200)
    fed.check = check
    tracemalloc.start()
    try:
        fed.run(650)  # what fills windows and caches was then made while it is watched
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        fed.run(checks)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def _told(fed: FedEngine) -> str:
    """A check whose decision somebody reads: sentence and evidence too."""
    return fed.engine.check(fed.reading()).reason


def _lived_through(quick: bool, monitors: int) -> Iterator[Figure]:
    """A run that really makes all its checks; state and history weighed on the way."""
    names = tuple(f"val_loss/dataloader_idx_{number}" for number in range(monitors))
    fed, sizes = FedEngine(names, patience=3), []
    total = (2_000 if quick else 30_000) * len(MONITORS) // monitors
    for _ in range(10):
        fed.run(total // 10)
        sizes.append(weight(fed))
    yield Figure(
        key=f"engine/state/{monitors}",
        line=2,
        what=f"the callback's own state in a checkpoint, {monitors} monitors, {total:,} checks, "
        f"{len(fed.history):,} decisions",
        over="64 KB",
        ratio=median(sizes) / LIMIT,
        low=min(sizes) / LIMIT,
        high=max(sizes) / LIMIT,
        pairs=len(sizes),
        here=f"{max(sizes):,} bytes at the most; {len(fed.history.kept)} decisions in memory",
        target="< 64 KB",
        met=max(sizes) < LIMIT,
    )


def weight(fed: FedEngine) -> int:
    """Bytes of the state in a checkpoint."""
    file = io.BytesIO()
    torch.save({"engine": fed.engine.state_dict(), "history": fed.history.state_dict()}, file)
    return file.tell() + 4096  # and the groups, the window and the counters of the session
