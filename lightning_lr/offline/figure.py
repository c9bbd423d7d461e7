"""The picture of a run: the curves above, the learning rate below, a mark at each decision.

The same picture stands in the README, in the report and in a notebook.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightning_lr.core.journal import JournalLine
from lightning_lr.core.vocabulary import Action, Condition

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    Condition.PLATEAU: "tab:blue",
    Condition.OVERFITTING: "tab:orange",
    Condition.DIVERGENCE: "tab:red",
    Condition.NON_FINITE: "tab:red",
}
"""Colour of a decision's mark; grey for the others."""


def draw(lines: Sequence[JournalLine]) -> Figure:
    """Draw the checks of a journal.

    Args:
        lines: the checks, in order.

    Raises:
        ImportError: where matplotlib is not installed (``pip install 'lightning-lr[plot]'``).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    losses, rates = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    _draw_metrics(losses, lines)
    _draw_rates(rates, lines)
    acted = [line for line in lines if line.decision.action is not Action.HOLD]
    for number, line in enumerate(acted, start=1):
        _mark(losses, rates, number, line)
    rates.set_xlabel("check")
    return figure


def _draw_metrics(axes: Any, lines: Sequence[JournalLine]) -> None:
    for name in dict.fromkeys(name for line in lines for name in line.reading.metrics):
        points = [(line.reading.check, line.reading.metrics[name]) for line in lines if name in line.reading.metrics]
        axes.plot(*zip(*points, strict=True), label=name, color=None if name == "train_loss" else "black")
    training = [(line.reading.check, line.reading.train.mean) for line in lines if line.reading.train]
    if training:
        axes.plot(*zip(*training, strict=True), label="training loss", color="tab:grey", linestyle="--")
    axes.set_yscale("log")
    axes.legend(loc="upper right")


def _draw_rates(axes: Any, lines: Sequence[JournalLine]) -> None:
    for name in dict.fromkeys(name for line in lines for name in line.reading.rates):
        points = [(line.reading.check, line.reading.rates[name].applied) for line in lines if name in line.reading.rates]
        axes.step(*zip(*points, strict=True), where="post", label=name)
    axes.set_yscale("log")
    axes.set_ylabel("learning rate")
    axes.legend(loc="upper right")


def _mark(losses: Any, rates: Any, number: int, line: JournalLine) -> None:
    """A vertical line through both panels, numbered, with the sentence along it where there are few."""
    decision = line.decision
    colour = COLOURS.get(decision.condition, "tab:grey")
    for axes in (losses, rates):
        axes.axvline(decision.check, color=colour, linewidth=1, alpha=0.7)
    losses.annotate(
        f" {decision.condition}", (decision.check, 1), xycoords=("data", "axes fraction"), rotation=90,
        va="top", ha="right", fontsize=8, color=colour,
    )  # fmt: skip
