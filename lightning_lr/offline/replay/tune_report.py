"""What ``lightning-lr tune`` prints: when each of many settings would have acted in the runs that are there already.

What counts is the first change of each run: every later one rests on metrics of a run that would have gone another way.
It is set against the run's best check. Before it, the run still had something to gain at its own rate; long after it,
checks brought nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_lr.engine.records import Decision
from lightning_lr.engine.text import plural
from lightning_lr.errors import ArgumentError
from lightning_lr.offline.logs.run import Run
from lightning_lr.offline.replay.grid import replay_grid
from lightning_lr.offline.replay.replay import UNKNOWN, not_found
from lightning_lr.offline.replay.variants import Variant, variants_of
from lightning_lr.offline.report import terminal
from lightning_lr.offline.report.run_summary import RunSummary, summarize

GRID = ("patience=2,3,5,8,12", "factor=0.1,0.2,0.3,0.5")
"""What is tried if nothing is asked for."""

MEDIANS = (
    "The figures are medians over the runs with a change. Too early: without the change, the run came to its best "
    "later. The rate is a multiple of the run's own."
)

SHOWN = 4
"""Changes of one run that a row of the table names."""


@dataclass(frozen=True)
class TunedRun:
    """One run under all settings.

    Attributes:
        run: where it comes from.
        summary: its checks.
        changes: what each of the settings would have changed, in the order of the settings.
    """

    run: Run
    summary: RunSummary
    changes: tuple[tuple[Decision, ...], ...]

    @property
    def best(self) -> int:
        """Check of the best value; NaN values count as none."""
        finite = [value if math.isfinite(value) else math.inf for value in self.summary.values]
        return self.summary.lines[int(np.argmin(finite))].reading.check


@dataclass(frozen=True)
class Tuning:
    """What a tuning came to.

    Attributes:
        names: of the settings.
        runs: the runs.
    """

    names: tuple[str, ...]
    runs: tuple[TunedRun, ...]

    @property
    def first(self) -> Any:
        """Check of the first change: an array with a row for each run and a column for each setting; NaN for none."""
        rows = [[changes[0].check if changes else math.nan for changes in run.changes] for run in self.runs]
        return np.array(rows, dtype=float)

    @property
    def late(self) -> Any:
        """The same in checks after the run's best, negative before it."""
        return self.first - np.array([[run.best] for run in self.runs])


def settings_grid(run: Run, policy: str | None, grid: Sequence[str]) -> list[Variant]:
    """The run's own settings, then every combination of the values.

    Args:
        run: its settings are what is changed.
        policy: a preset in place of the run's own.
        grid: ``name=value,value``.

    Raises:
        ArgumentError: if a name or a value cannot be.
    """
    axes = []
    for text in grid or GRID:
        name, equals, values = text.partition("=")
        if not equals or not all(values.split(",")):
            raise ArgumentError(f"Expected NAME=VALUE,VALUE, as in patience=3,5,8, but got {text!r}.")
        axes.append([f"{name}={value}" for value in values.split(",")])
    asked = [" ".join([*([f"policy={policy}"] if policy else []), *one]) for one in itertools.product(*axes)]
    return variants_of(run, policy, (), asked)


def tuned(run: Run, variants: Sequence[Variant]) -> TunedRun:
    """One run under all settings."""
    summary = summarize(run.lines(), run.settings)
    found = replay_grid(summary.lines, [variant.settings for variant in variants])
    return TunedRun(run, summary, tuple(map(tuple, found)))


def as_document(tuning: Tuning) -> dict[str, Any]:
    """One document: each setting with what it would have changed in each run."""
    settings = [
        {
            "name": name,
            "runs": [
                {
                    "run": str(run.run.path),
                    "best_check": run.best,
                    "changes": [
                        {name: getattr(d, name) for name in ("check", "epoch", "condition", "action", "factor")}
                        for d in run.changes[place]
                    ],
                }
                for run in tuning.runs
            ],
        }
        for place, name in enumerate(tuning.names)
    ]
    return {"settings": settings, "unknown": UNKNOWN}


def show(tuning: Tuning) -> None:
    """Print a table with a row for each setting."""
    out, count = terminal.console(), len(tuning.runs)
    for run in tuning.runs if count <= SHOWN else ():
        best = f"best {run.summary.name} at check {run.best}"
        terminal.say(out, f"{run.run.path}: {run.run.kind}", style="bold")
        terminal.say(out, *run.run.chosen, *not_found(run.run.settings), f"{len(run.summary.lines)} checks, {best}")
    if count > SHOWN:
        terminal.say(out, f"{count} runs, {sum(len(run.summary.lines) for run in tuning.runs)} checks", style="bold")
    if count == 1:
        heads, changes = ["settings", "changes"], tuning.runs[0].changes
        rows = [[name, _changes(found)] for name, found in zip(tuning.names, changes, strict=True)]
    else:
        heads = ["settings", "acts in", "first change", "too early", "changes a run", "rate ends at"]
        rows = [[name, *_over_runs(tuning, place)] for place, name in enumerate(tuning.names)]
    out.print(terminal.table("", heads, rows))
    if count > 1:
        terminal.say(out, MEDIANS)
    terminal.say(out, UNKNOWN)


def _changes(changes: Sequence[Decision]) -> str:
    named = [f"check {d.check} {terminal.short(d)}" for d in changes[:SHOWN]]
    more = [f"and {len(changes) - SHOWN} more"] if len(changes) > SHOWN else []
    return ", ".join([*named, *more]) or "none"


def _over_runs(tuning: Tuning, place: int) -> list[str]:
    late, count = tuning.late[:, place], len(tuning.runs)
    acted = late[~np.isnan(late)]
    changes = [run.changes[place] for run in tuning.runs]
    if not acted.size:
        return [f"0 of {count} runs", "–", "–", "0", "–"]
    scale = np.median([math.prod(d.factor for d in found) for found in changes if found])
    middle = float(np.median(acted))
    away = f"{abs(middle):g} check{plural(abs(middle))} {'after' if middle > 0 else 'before'}" if middle else "at"
    first = f"{away} the best"
    often = f"{np.mean([len(found) for found in changes]):.2g}"
    return [f"{acted.size} of {count} runs", first, f"{int((acted < 0).sum())} runs", often, f"× {scale:.2g}"]
