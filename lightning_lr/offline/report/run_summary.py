"""A run as the report looks at it: the first monitor, the first group's rate, and what was decided."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.records import Decision
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Mode
from lightning_lr.offline.logs.log_readings import JUMP

HARM = frozenset({Condition.DIVERGENCE, Condition.NON_FINITE, Condition.OSCILLATION})
"""Conditions in which the learning rate is too high."""


@dataclass(frozen=True)
class RunSummary:
    """What the report is made of; plain lists with one item a check.

    Attributes:
        settings: of the run, or of a replay of its log.
        lines: the checks.
        values: oriented value of the monitor, NaN if none came.
        rates: rate of the first group with which the value was computed, as the schedule and the decisions set it:
            without our own curve over the budget, which every rate of the run has alike; NaN if unknown.
        changes: positions of the checks after which the rate was another, or the state.
        annealed_from: position of the check with which the end of the budget began; after the last one if none did.
    """

    settings: Settings
    lines: tuple[JournalLine, ...]
    values: tuple[float, ...]
    rates: tuple[float, ...]
    changes: tuple[int, ...]
    annealed_from: int

    @property
    def name(self) -> str:
        """The first monitor."""
        return self.settings.monitors[0]

    def shown(self, oriented: float) -> float:
        """The number as it was logged."""
        return (-oriented if self.settings.mode is Mode.MAX else oriented) + 0.0

    @property
    def acted(self) -> list[Decision]:
        """The decisions that were not to hold."""
        return [line.decision for line in self.lines if line.decision.action is not Action.HOLD]

    @property
    def finite(self) -> list[float]:
        """The values that are finite."""
        return [value for value in self.values if math.isfinite(value)]


def summarize(lines: Iterable[JournalLine], settings: Settings) -> RunSummary:
    """The checks of a run, side by side."""
    lines, name = tuple(lines), settings.monitors[0]
    sign = -1 if settings.mode is Mode.MAX else 1
    values = tuple(sign * line.reading.metrics.get(name, math.nan) for line in lines)
    rates = tuple(_levels(lines))
    changes = tuple(
        place
        for place, line in enumerate(lines)
        if line.decision.action is not Action.HOLD or jumped(*(*rates[place : place + 2], math.nan)[:2])
    )
    annealed = (place for place, line in enumerate(lines) if line.decision.action is Action.ANNEAL)
    return RunSummary(settings, lines, values, rates, changes, next(annealed, len(lines)))


def jumped(old: float, new: float) -> bool:
    """Whether a rate that no decision changed has changed enough to count; False if one of them is unknown.

    >>> jumped(0.1, 0.05), jumped(0.1, 0.09), jumped(0.0, 0.1), jumped(float("nan"), 0.1)
    (True, False, False, False)
    """
    return old > 0 and new > 0 and not 1 / JUMP < new / old < JUMP


def _levels(lines: Iterable[JournalLine]) -> Iterator[float]:
    """The first group's rate at each check, without our curve: what changes the scale with no decision is the curve."""
    decided = 0.0
    for line in lines:
        rate = next(iter(line.reading.rates.values()), None)
        if rate is None or not rate.scale > 0:
            yield rate.applied if rate else math.nan
            continue
        # The curve only ever lowers: a scale above what was decided has another cause, and is taken as it is.
        decided = max(decided, rate.scale)
        yield rate.applied * decided / rate.scale
        after = next(iter(line.adjustment.rates.values()), rate)
        decided *= after.scale / rate.scale
