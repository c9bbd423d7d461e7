"""What the loggers show of the layers: a scalar for each, and in TensorBoard a heat map over layers and time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from lightning_lr.layerwise.rule import LayerChange
from lightning_lr.loggers.decision_logger import is_tensorboard
from lightning_lr.loggers.guarded import GuardedLoggers

PREFIX = "layerwise"
COLUMNS = 200
"""Moments in a heat map at most: beyond, every other one is left out, as there are not that many pixels."""
EVERY = 20
"""Windows between two heat maps: one takes a tenth of a second to draw."""


class LayerLog:
    """Writes one run's multipliers to its loggers.

    Args:
        loggers: ``trainer.loggers``; none on ranks that write nothing.
        layers: names, in order.
        warn: called with a sentence where a logger fails.
    """

    def __init__(self, loggers: Sequence[Any], layers: Sequence[str], warn: Callable[[str], None]) -> None:
        self.loggers = tuple(loggers)
        self._guarded = GuardedLoggers(warn)
        self.layers = tuple(layers)
        self.steps: list[int] = []
        self.rows: list[list[float]] = []
        self._windows = 0

    def remember(self, step: int, multipliers: Mapping[str, float]) -> None:
        """Add a column to the heat map."""
        self.steps.append(step)
        self.rows.append([multipliers.get(layer, 1.0) for layer in self.layers])
        if len(self.steps) > COLUMNS:
            self.steps, self.rows = self.steps[::2], self.rows[::2]

    def recall(self, lines: Iterable[str]) -> None:
        """Take the columns of a run that goes on from the lines of its record."""
        for record in map(_record, lines):
            if record.get("kind") == "window":
                self.remember(record["step"], record["multipliers"])

    def write(self, step: int, multipliers: Mapping[str, float], changes: Mapping[str, LayerChange]) -> None:
        """The numbers of one window."""
        self.remember(step, multipliers)
        numbers = {f"{PREFIX}/multiplier/{layer}": value for layer, value in multipliers.items()}
        numbers.update({f"{PREFIX}/alignment/{layer}": change.alignment for layer, change in changes.items()})
        numbers.update({f"{PREFIX}/trust_ratio/{layer}": change.trust for layer, change in changes.items()})
        for logger in self.loggers:
            self._guarded.call(logger, lambda logger: logger.log_metrics(metrics=numbers, step=step))
        self._windows += 1
        if self._windows % EVERY == 0:
            self.draw()

    def draw(self) -> None:
        """The heat map, where there is a TensorBoard logger and matplotlib is installed."""
        boards = [logger for logger in self.loggers if is_tensorboard(logger)]
        if boards and self.steps and find_spec("matplotlib") is not None:
            for logger in boards:
                self._guarded.call(logger, self._draw)

    def _draw(self, logger: Any) -> None:
        figure = heat_map(self.layers, self.steps, self.rows)
        logger.experiment.add_figure(f"{PREFIX}/multipliers", figure, global_step=self.steps[-1])


def _record(line: str) -> dict[str, Any]:
    """A line of the record; empty if it is none, and the heat map has a column less."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) and {"step", "multipliers"} <= record.keys() else {}


def heat_map(layers: Sequence[str], steps: Sequence[int], rows: Sequence[Sequence[float]]) -> Any:
    """Layers over time as matplotlib's figure; red learns faster than the others, blue slower.

    Args:
        layers: names, first layer on top.
        steps: when.
        rows: for each of ``steps`` the multiplier of every layer.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.25 * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    values = [[math.log2(row[layer]) for row in rows] for layer in range(len(layers))]
    most = max(1.0, *(abs(value) for row in values for value in row))  # a factor of two has a colour that can be seen
    edges = [*steps, steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 1)]
    image = axes.pcolormesh(edges, range(len(layers) + 1), values, cmap="RdBu_r", vmin=-most, vmax=most)
    axes.set_yticks([at + 0.5 for at in range(len(layers))], layers, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("step")
    axes.set_title("Learning rate of each layer, relative to their geometric mean", fontsize=9)
    figure.colorbar(image, ax=axes, label="log₂ multiplier")
    return figure
