"""The range of rates that performed well, and the margin on both sides.

A stretch of checks at one rate performs well where it improved the best by more than 1 %, the rule of the halving
recipe. It did harm where it soon ended in divergence, oscillation or values that are not finite, or did so without
having brought a tenth of the run's progress. Rates within half an octave count as one. The annealed end of a budget is
left out: what it brings is owed to the fall, and to no rate in particular.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from lightning_lr.engine.policies.halving import WELL
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline.report.run_summary import HARM, Story

SOON = 5
"""Checks up to which an end in harm is laid to the rate: later, it had served well for a while."""


SHARE = 0.1
"""Share of the whole run's progress that makes up for an end in harm."""


@dataclass
class Tried:
    """One rate, in all of its stretches.

    Attributes:
        rate: as it was applied.
        gain: by how much the best improved under it, oriented, ≥ 0.
        well: whether a stretch performed well.
        harmed: whether one ended in harm.
    """

    rate: float
    gain: float = 0.0
    well: bool = False
    harmed: bool = False


@dataclass(frozen=True)
class Band:
    """The rates that performed well, next to each other, around the one that brought most.

    Attributes:
        low: lowest of them; NaN where none performed well.
        high: highest.
        most: the one that brought most.
        below: next lower rate that was tried, and brought little; NaN where none was.
        above: next higher rate that was tried; NaN where none was.
        harmful: whether that one did harm.
        sentences: all of it in words.
    """

    low: float = math.nan
    high: float = math.nan
    most: float = math.nan
    below: float = math.nan
    above: float = math.nan
    harmful: bool = False
    sentences: tuple[str, ...] = field(default=())


def band_of(story: Story) -> Band:
    """The range of rates that performed well in a run."""
    tried = tried_rates(story)
    if not tried:
        return Band(sentences=("No learning rate was recorded: add LearningRateMonitor or LearningRateController.",))
    good = [place for place, rate in enumerate(tried) if rate.well and not rate.harmed]
    if not good:
        rates = f"{tried[0].rate:.3g}" if len(tried) == 1 else f"{tried[0].rate:.3g} to {tried[-1].rate:.3g}"
        return Band(
            sentences=(
                f"Of the rates that were tried ({rates}) none improved {story.name} by more than {100 * WELL:g} %.",
            )
        )
    most = low = high = max(good, key=lambda place: tried[place].gain)
    while low - 1 in good:
        low -= 1
    while high + 1 in good:
        high += 1
    below = tried[low - 1].rate if low else math.nan
    above = tried[high + 1] if high + 1 < len(tried) else None
    band = Band(
        tried[low].rate, tried[high].rate, tried[most].rate,
        below, above.rate if above else math.nan, bool(above and above.harmed),
    )  # fmt: skip
    return Band(band.low, band.high, band.most, band.below, band.above, band.harmful, _sentences(band, story))


def tried_rates(story: Story) -> list[Tried]:
    """Every rate of the run, lowest first."""
    tried: dict[int, Tried] = {}
    values, rates = story.values[: story.annealed_from + 1], story.rates[: story.annealed_from + 1]
    best = next((value for value in values if math.isfinite(value)), math.nan)
    progress = best - min((value for value in values if math.isfinite(value)), default=math.nan)
    start, last = 0, len(values) - 1
    planned_end_step = set(story.changes) | {last}
    for place, rate in enumerate(rates):
        changed = place < last and _octaves(rate) != _octaves(rates[place + 1])
        if place not in planned_end_step and not changed:
            continue
        stretch = [value for value in values[start : place + 1] if math.isfinite(value)]
        start = place + 1
        ended_in_harm = story.lines[place].decision.condition in HARM and place in story.changes
        swept = story.lines[place].decision.action is Action.EXPLORE  # what no check came about under was not tried
        if not rate > 0 or (swept and not stretch):
            continue
        one = tried.setdefault(_octaves(rate), Tried(rate))
        newest = min([best, *stretch])
        one.gain += best - newest if math.isfinite(best) else 0.0
        one.well |= newest < best - WELL * abs(best)
        one.harmed |= ended_in_harm and (len(stretch) <= SOON or best - newest < SHARE * progress)
        best = newest
    return [tried[key] for key in sorted(tried)]


def _octaves(rate: float) -> int:
    return round(2 * math.log2(rate)) if rate > 0 else -(10**9)


def _sentences(band: Band, story: Story) -> tuple[str, ...]:
    name = story.name
    if band.low == band.high:
        alone = f"it improved {name} by more than {100 * WELL:g} %, as no rate next to it did."
        said = f"{band.most:.3g} performed well: {alone}"
    else:
        up, down = band.high / band.most, band.most / band.low
        margins = [f"raised {up:.2g} times"] * (up > 1) + [f"lowered {down:.2g} times"] * (down > 1)
        said = (
            f"Rates from {band.low:.3g} to {band.high:.3g} performed well: each improved {name} by more than "
            f"{100 * WELL:g} %. {band.most:.3g} brought most; {' or '.join(margins)} it still performed well."
        )
    return (
        said,
        _edge("Above", band.above, "did harm" if band.harmful else "brought less", "higher", story),
        _edge("Below", band.below, "brought less", "lower", story),
    )


def _edge(side: str, rate: float, what: str, other: str, story: Story) -> str:
    if math.isfinite(rate):
        return f"{side} that, {rate:.3g} {what}."
    swept = any(decision.action is Action.EXPLORE for decision in story.acted)
    but = " but in the few steps of the exploration" if swept else ""
    return f"No {other} rate was tried{but}: the margin on that side is not known."
