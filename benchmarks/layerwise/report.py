"""The results as a table: ratios of test losses, with what so many seeds can tell about them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.layerwise.tasks import TASKS
from benchmarks.layerwise.training import METHODS

Rows = Sequence[dict[str, Any]]
OVERHEAD = Path(__file__).with_name("overhead.json")
MANY = 10
"""Seeds from which on an interval says more than the least and the largest."""


def report(rows: Rows) -> str:
    """RESULTS.md."""
    return f"{HEAD}\n{_table(rows, 1.0)}\n{RATES}\n{_best(rows)}\n{COST}\n{_overhead()}\n"


def _ratios(rows: Rows, task: str, method: str, start: float) -> list[float]:
    """Test loss over that of the run without, for each seed that has both; infinity where it diverged."""
    losses = {
        (row["method"], row["seed"]): math.inf if row["test_loss"] is None else row["test_loss"]
        for row in rows
        if row["task"] == task and row["start"] == start
    }
    seeds = sorted({seed for name, seed in losses if name == method and ("without", seed) in losses})
    return [losses[method, seed] / losses["without", seed] for seed in seeds]


def _shown(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    # Ratios are averaged as ratios, so that 2 and 1/2 make 1; the range says what the seeds are worth.
    if max(ratios) == math.inf:
        return f"∞ ({min(ratios):.2f} … ∞)"
    logs = [math.log(one) for one in ratios]
    mean = math.exp(statistics.fmean(logs))
    if len(logs) >= MANY:
        reach = math.exp(1.96 * statistics.stdev(logs) / math.sqrt(len(logs)))
        return f"{mean:.3f} (95 %: {mean / reach:.3f} … {mean * reach:.3f}; {len(logs)} seeds)"
    return f"{mean:.3f} ({min(ratios):.2f} … {max(ratios):.2f})"


def _table(rows: Rows, start: float) -> str:
    methods = [name for name in METHODS if name != "without"]
    lines = [
        "| task | seeds | test loss without | " + " | ".join(methods) + " |",
        "| --- | ---: | ---: |" + " ---: |" * len(methods),
    ]
    for task in TASKS:
        own = [r for r in rows if r["task"] == task.name and r["start"] == start and r["method"] == "without"]
        if own:
            mean = statistics.fmean(math.inf if r["test_loss"] is None else r["test_loss"] for r in own)
            cells = [_shown(_ratios(rows, task.name, method, start)) for method in methods]
            lines.append(f"| {task.name} | {len(own)} | {mean:.4f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _best(rows: Rows) -> str:
    """Where several rates were run: the best on validation with and without, and what it gives on test."""
    lines = ["| task | rates | method | best at × | test loss |", "| --- | --- | --- | ---: | ---: |"]
    for task in TASKS:
        own = [row for row in rows if row["task"] == task.name]
        starts = sorted({row["start"] for row in own})
        if len(starts) < 2:
            continue
        for method in METHODS:
            means = {s: _means([r for r in own if r["method"] == method and r["start"] == s]) for s in starts}
            known = {s: m for s, m in means.items() if m is not None}
            if len(known) == len(starts):
                best = min(known, key=lambda s: known[s][0])
                shown = ", ".join(f"{s:g}" for s in starts)
                lines.append(f"| {task.name} | {shown} | {method} | {best:g} | {known[best][1]:.4f} |")
    return "\n".join(lines)


def _means(rows: Rows) -> tuple[float, float] | None:
    if not rows:
        return None
    return tuple(  # type: ignore[return-value]
        statistics.fmean(math.inf if row[key] is None else row[key] for row in rows)
        for key in ("val_loss", "test_loss")
    )


def _overhead() -> str:
    """What overhead.json holds."""
    lines = ["| task | bare step | its own calls | ratio of the blocks − 1 | quartiles |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for one in json.loads(OVERHEAD.read_text(encoding="utf-8")):
        low, high = (f"{100 * share:+.1f}" for share in one["quartiles"])
        lines.append(
            f"| {one['task']} | {1000 * one['bare']:.2f} ms | {100 * one['own']:.1f} % | {100 * one['share']:+.1f} % | "
            f"{low} … {high} % |"
        )
    return "\n".join(lines)


HEAD = """# Layers: does a multiplier for each one pay?

Test loss with the callback over test loss without it: geometric mean over the seeds, and the least and the largest;
from ten seeds on the 95 % interval of the mean, of paired runs. Below 1 is better. Same seed, same batches, same number
of steps, same schedule (twenty steps of warm-up, linear to zero over the last half), every run at the task's own rate,
which is the best of a coarse grid for the run *without*.
To run it again (what stands in results.jsonl is not run twice):

    make bench-layerwise DATA=FOLDER
"""

RATES = """
## Each at its own best rate

The rate (as a multiple of the task's) is chosen on validation, for each method on its own; the mean test loss at it.
"""

COST = """
## What it costs

Blocks of ten steps, in turn without it and with it at its default cadence, in one process and on one thread; processor
time, medians (`python -m benchmarks.layerwise.overhead --data FOLDER`).
"""
