"""The picture of a tuning: each run's curve, and below it a row of marks for each setting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lightning_lr.engine.detectors import look_of
from lightning_lr.offline.replay.tune_report import TunedRun, Tuning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_RUNS = 12
"""Runs that are drawn."""

ROW, CURVE, WIDE, TITLE = 0.17, 1.1, 9.0, 0.35
"""Inches: height of a setting's row and of a curve, width, space above and below a run."""


def draw(tuning: Tuning) -> Figure:
    """Draw the first runs, one below the other.

    Raises:
        ImportError: where matplotlib is not installed (``pip install 'lightning-lr[plot]'``).
    """
    from matplotlib.figure import Figure

    runs = tuning.runs[:MOST_RUNS]
    rows = ROW * len(tuning.names) + TITLE
    height = len(runs) * (CURVE + rows + TITLE) + TITLE
    figure = Figure(figsize=(WIDE, height))
    left = 0.09 + 0.0075 * max(len(name) for name in tuning.names)
    wide = 0.98 - left
    top = height - TITLE
    conditions = {d.condition: look_of(d.condition)[0] for run in runs for found in run.changes for d in found}
    for run in runs:
        top -= CURVE
        curve = figure.add_axes((left, top / height, wide, CURVE / height))
        _draw_curve(curve, run)
        top -= rows - TITLE
        marks = figure.add_axes((left, top / height, wide, (rows - TITLE) / height), sharex=curve)
        _draw_marks(marks, run, tuning.names, conditions)
        top -= 2 * TITLE
    _legend(figure, conditions)
    return figure


def _draw_curve(axes: Any, run: TunedRun) -> None:
    checks = [line.reading.check for line in run.summary.lines]
    shown = [run.summary.shown(value) if math.isfinite(value) else math.nan for value in run.summary.values]
    axes.plot(checks, shown, color="#111111", linewidth=1.6)
    axes.axvline(run.best, color="#009E73", linewidth=1.2, linestyle=":")
    axes.set_title(str(run.run.path).replace("$", r"\$"), fontsize=9, loc="left")
    axes.set_ylabel(run.summary.name.replace("$", r"\$"), fontsize=8)
    axes.tick_params(labelsize=8, labelbottom=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def _draw_marks(axes: Any, run: TunedRun, names: tuple[str, ...], colors: dict[Any, str]) -> None:
    for row, changes in enumerate(run.changes):
        for place, decision in enumerate(changes):
            first = place == 0  # later changes rest on metrics of a run that went another way
            color = colors[decision.condition]
            axes.plot(decision.check, row, "o", color=color, markersize=5, fillstyle="full" if first else "none")
    axes.axvline(run.best, color="#009E73", linewidth=1.2, linestyle=":")
    axes.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names], fontsize=7)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("check", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def _legend(figure: Any, colors: dict[Any, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=color, marker="o", linestyle="", label=str(c)) for c, color in colors.items()]
    handles.append(Line2D([], [], color="#5a6470", marker="o", linestyle="", fillstyle="none", label="a later change"))
    handles.append(Line2D([], [], color="#009E73", linestyle=":", label="best check"))
    figure.legend(handles=handles, loc="upper right", ncols=len(handles), fontsize=8, frameon=False)
