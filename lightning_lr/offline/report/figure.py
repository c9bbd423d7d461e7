"""The picture of a run: the curves above, the learning rate below, a mark with a few words at each decision.

The same picture stands in the README, in the report and in a notebook.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.journal import JournalLine
from lightning_lr.offline.report.figure_labels import placed
from lightning_lr.offline.report.series import TRAINING, is_wide, marks_of, metric_series, rate_series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE, HIGH = 9.0, 5.0
"""Inches without the rows of labels; at 100 dots an inch the width of a README."""

SHAPES = {
    "square": "s", "triangle-up": "^", "triangle-right": ">", "triangle-down": "v", "diamond": "D", "x": "x",
    "cross": "P", "hourglass": "d", "pentagon": "p", "star": "*",
}  # fmt: skip
"""matplotlib's names of the detectors' marks; the rest are circles."""

ROW = 0.22
"""Inches of one row of labels."""

LEFT, RIGHT, BOTTOM, TOP = 0.85, 0.15, 0.5, 0.15
"""Margins, in inches."""

POINTS = 2000
"""Points of one curve; more would not be seen."""


def draw(lines: Sequence[JournalLine], figure: Figure | None = None, detectors: Sequence[Detector] = ()) -> Figure:
    """Draw the checks of a journal.

    Args:
        lines: the checks, in order.
        figure: an empty one to draw into; by default, a new one that belongs to no window.
        detectors: those of the user, from the settings of the run: they color their marks.

    Raises:
        ImportError: where matplotlib is not installed (``pip install 'lightning-lr[plot]'``).
    """
    from matplotlib.figure import Figure

    if figure is None:
        figure = Figure()
    curves, rates = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [5, 2], "hspace": 0.08})
    _draw_curves(curves, lines)
    _draw_rates(rates, lines)
    first, last = lines[0].reading.check, lines[-1].reading.check
    rates.set_xlim(first, max(last, first + 1))
    each = all(line.reading.epoch == line.reading.check for line in lines)
    rates.set_xlabel("epoch" if each else "check")
    for axes in (curves, rates):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    _mark(figure, curves, rates, lines, detectors)
    figure.align_ylabels([curves, rates])
    return figure


def _draw_curves(axes: Any, lines: Sequence[JournalLine]) -> None:
    series = metric_series(lines, POINTS)
    for one in series:
        style = {"linestyle": "--", "linewidth": 1.4} if one.color == TRAINING else {"linewidth": 2.0}
        axes.plot(one.xs, one.ys, label=_label(one.name), color=one.color, **style)
    if is_wide(series):
        _plain_log(axes)
    axes.set_ylabel("metrics")
    axes.legend(loc="best", frameon=False)


def _label(name: str) -> str:
    """A name that begins with _ would be left out of the legend, and $ would be taken for a formula."""
    return ("\u200b" if name.startswith("_") else "") + name.replace("$", r"\$")


def _draw_rates(axes: Any, lines: Sequence[JournalLine]) -> None:
    series = rate_series(lines, POINTS)
    for one in series:
        axes.step(one.xs, one.ys, where="pre", label=_label(one.name), color=one.color, linewidth=1.6)
    if series and all(rate > 0 for one in series for rate in one.ys):
        _plain_log(axes)
    axes.set_ylabel("learning rate")


def _plain_log(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = math.log10(high / low) if low > 0 else 0.0
    steps = LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,), numticks=6)
    axes.yaxis.set_major_locator(steps if decades > 0.5 else MaxNLocator(4))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _mark(figure: Any, curves: Any, rates: Any, lines: Sequence[JournalLine], detectors: Sequence[Detector]) -> None:
    """A line through both panels and a point on the rate at each decision; its words in a row above them."""
    marks = marks_of(lines, detectors)
    low, high = rates.get_xlim()
    positions = [(mark.check - low) / (high - low) for mark in marks]
    labels = placed([mark.decision for mark in marks], positions, lambda text: _width(figure, text))
    height = HIGH + ROW * (1 + max((row for *_, row in labels), default=-1))
    figure.set_size_inches(WIDE, height)
    figure.subplots_adjust(LEFT / WIDE, BOTTOM / height, 1 - RIGHT / WIDE, (HIGH - TOP) / height)
    panel = curves.get_position().height * height
    style = {"linewidth": 1.1, "alpha": 0.9 if len(marks) <= 40 else 0.4, "zorder": 1}
    for mark, label in zip_longest(marks, labels):  # no labels: they did not fit
        up = 1 + (ROW * (label[3] + 1) - 0.02) / panel if label else 1
        across = curves.get_xaxis_transform()
        curves.plot([mark.check] * 2, [0, up], transform=across, color=mark.color, clip_on=False, **style)
        rates.axvline(mark.check, color=mark.color, **style)
        if label:
            text, position, left, row = label
            side, nudge = ("left", 3) if left == position else ("right", -3)
            curves.annotate(text, (position, 1 + (ROW * row + 0.11) / panel), xycoords="axes fraction", fontsize=9,
                            xytext=(nudge, 0), textcoords="offset points", va="center", annotation_clip=False, ha=side,
                            color=mark.color, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # fmt: skip
    for kind in dict.fromkeys(mark.kind for mark in marks):
        these = [mark for mark in marks if mark.kind == kind]
        symbol, is_open, _ = these[0].symbol.partition("-open")
        look = {"color": these[0].color, "marker": SHAPES.get(symbol, "o"), "fillstyle": "none" if is_open else "full"}
        checks, held = [mark.check for mark in these], [mark.rate for mark in these]
        rates.plot(checks, held, linestyle="", label=_label(kind), markersize=6, clip_on=False, zorder=3, **look)
    if len(rates.get_legend_handles_labels()[0]) > 1:
        rates.legend(loc="best", frameon=False, fontsize="small", ncols=3)


def _width(figure: Any, text: str) -> float:
    """Width of a label in widths of the panel, with the nudge off its mark."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    points = TextPath((0, 0), text, size=9, prop=FontProperties()).get_extents().width + 6
    return float(points / 72 / (WIDE - LEFT - RIGHT))
