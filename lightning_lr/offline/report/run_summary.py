"""A run as the report looks at it: the first monitor, the first group's rate, and what was decided."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.records import Decision
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition, Mode
from lightning_lr.offline.logs.sources import Run

JUMP = 1.5
"""Ratio of two neighbouring rates from which on a change counts as one, where nobody tells: halving does, a cosine's
single step does not."""

HARM = frozenset({Condition.DIVERGENCE, Condition.NON_FINITE, Condition.OSCILLATION})
"""Conditions that say of a rate that it is too high."""


@dataclass(frozen=True)
class Story:
    """What the report is made of; plain lists with one item a check.

    Attributes:
        name: of the first monitor.
        sign: +1 where lower is better, −1 where higher is better.
        lines: the checks.
        values: oriented value of the monitor, NaN where none came.
        rates: rate of the first group under which the value came about, as the schedule and the decisions set it:
            without our own curve over the budget, which every rate of the run has alike; NaN where unknown.
        changes: positions of the checks after which the rate was another, or the state.
        annealed_from: position of the check with which the end of the budget began; after the last one where none did.
    """

    name: str
    sign: int
    lines: tuple[JournalLine, ...]
    values: tuple[float, ...]
    rates: tuple[float, ...]
    changes: tuple[int, ...]
    annealed_from: int

    def shown(self, oriented: float) -> float:
        """The number as it was logged."""
        return self.sign * oriented + 0.0

    @property
    def acted(self) -> list[Decision]:
        """The decisions that were not to hold."""
        return [line.decision for line in self.lines if line.decision.action is not Action.HOLD]


def story_of(run: Run) -> Story:
    """The story of a recorded run."""
    return story_from(run.lines(), run.settings)


def story_from(lines: Iterable[JournalLine], settings: Settings) -> Story:
    """The story of checks that are at hand."""
    lines, name = tuple(lines), settings.monitors[0]
    sign = -1 if settings.mode is Mode.MAX else 1
    values = tuple(sign * line.reading.metrics.get(name, math.nan) for line in lines)
    rates = tuple(_levels(lines))
    annealed = (place for place, line in enumerate(lines) if line.decision.action is Action.ANNEAL)
    return Story(name, sign, lines, values, rates, _changes(lines, rates), next(annealed, len(lines)))


def _levels(lines: Iterable[JournalLine]) -> Iterator[float]:
    """The first group's rate at each check, without our curve: what changes the scale with no decision is the curve."""
    decided = 0.0
    for line in lines:
        rate = next(iter(line.reading.rates.values()), None)
        if rate is None or not rate.scale > 0:
            yield rate.applied if rate else math.nan
            continue
        # The curve only ever lowers: a scale above what was decided is somebody else's work, and taken as it is.
        decided = max(decided, rate.scale)
        yield rate.applied * decided / rate.scale
        after = next(iter(line.adjustment.rates.values()), rate)
        decided *= after.scale / rate.scale


def _changes(lines: tuple[JournalLine, ...], rates: tuple[float, ...]) -> tuple[int, ...]:
    """After which checks the rate was another: by a decision, or by whatever else (with a jump)."""
    found = []
    for place, line in enumerate(lines):
        ours = line.decision.action is not Action.HOLD
        later = rates[place + 1] if place + 1 < len(rates) else math.nan
        ratio = later / rates[place] if rates[place] > 0 and later > 0 else 1.0
        if ours or not 1 / JUMP < ratio < JUMP:
            found.append(place)
    return tuple(found)
