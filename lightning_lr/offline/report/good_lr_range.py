"""The range of rates that performed well, and the margin on both sides.

A stretch of checks at one rate performs well if it improved the best by more than 1 % of the whole gain, as in the
halving policy. It did harm if it soon ended in divergence, oscillation or values that are not finite, or did so without
having brought a tenth of the run's progress. Rates within a factor of 1.4 count as one. The annealed end of a budget is
left out: what it brings is owed to the fall, and to no rate in particular.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_lr.engine.policies.halving import WELL
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline.report.run_summary import HARM, RunSummary

SOON = 5
"""Checks up to which an end in harm is laid to the rate: later, it had served well for a while."""

LEAST_GAIN = 0.1
"""Share of the whole run's progress that makes up for an end in harm."""


@dataclass
class Tried:
    """One rate, in all of its stretches.

    Attributes:
        rate: as it was applied; the first one of a stretch.
        gain: by how much the best improved under it, oriented, ≥ 0.
        well: whether a stretch performed well.
        harmed: whether one ended in harm.
    """

    rate: float
    gain: float = 0.0
    well: bool = False
    harmed: bool = False


@dataclass(frozen=True)
class GoodRange:
    """The rates that performed well.

    Attributes:
        most: the one that brought most; NaN if none performed well.
        sentences: the range around it and its margins, in words.
        tried: how many rates were.
    """

    most: float
    sentences: tuple[str, ...]
    tried: int = 0


def good_lr_range(summary: RunSummary) -> GoodRange:
    """The range of rates that performed well, next to each other, around the one that brought most."""
    tried, name, share = tried_rates(summary), summary.name, f"{100 * WELL:g} % of all it gained"
    if not tried:
        return GoodRange(math.nan, ("No learning rate was recorded: nothing can be said of it.",))
    good = [place for place, one in enumerate(tried) if one.well and not one.harmed]
    if not good:
        rates = f"{tried[0].rate:.3g}" + (f" to {tried[-1].rate:.3g}" if len(tried) > 1 else "")
        none = f"Of the rates that were tried ({rates}) none improved {name} by more than {share}."
        return GoodRange(math.nan, (none,), len(tried))
    best = low = high = max(good, key=lambda place: tried[place].gain)
    while low - 1 in good:
        low -= 1
    while high + 1 in good:
        high += 1
    most = tried[best].rate
    if len(tried) == 1:
        only = f"{most:.3g}, the only rate, performed well: it improved {name} by more than {share}."
        return GoodRange(most, (only, "The margin on either side is not known."), 1)
    if low == high:
        alone = f"it improved {name} by more than {share}, as no rate next to it did."
        best_range = f"{most:.3g} performed well: {alone}"
    else:
        up, down = tried[high].rate / most, most / tried[low].rate
        margins = [f"multiplied by {up:.2g}"] * (up > 1) + [f"divided by {down:.2g}"] * (down > 1)
        best_range = (
            f"Rates from {tried[low].rate:.3g} to {tried[high].rate:.3g} performed well: each improved {name} by more "
            f"than {share}. {most:.3g} brought most; {' or '.join(margins)} it still performed well."
        )
    above, below = tried[high + 1 : high + 2], tried[max(0, low - 1) : low]
    edges = _edge("Above", "higher", above, summary), _edge("Below", "lower", below, summary)
    return GoodRange(most, (best_range, *edges), len(tried))


def _edge(side: str, other: str, tried: list[Tried], summary: RunSummary) -> str:
    for one in tried:
        return f"{side} that, {one.rate:.3g} {'did harm' if one.harmed else 'brought less'}."
    return f"No {other} rate was tried: the margin on that side is not known."


def tried_rates(summary: RunSummary) -> list[Tried]:
    """Every rate of the run, lowest first."""
    tried: dict[int, Tried] = {}
    values, rates = summary.values[: summary.annealed_from + 1], summary.rates[: summary.annealed_from + 1]
    finite = [value for value in values if math.isfinite(value)]
    best, progress = (finite[0], finite[0] - min(finite)) if finite else (math.nan, math.nan)
    start, last = 0, len(values) - 1
    for place, rate in enumerate(rates):
        changed = place in summary.changes or place == last or _octaves(rate) != _octaves(rates[place + 1])
        if not changed:
            continue
        stretch = [value for value in values[start : place + 1] if math.isfinite(value)]
        first, decision = rates[start], summary.lines[place].decision  # of a schedule, the one that it falls from
        start = place + 1
        swept = decision.action is Action.EXPLORE  # a rate without a check was not tried
        if not rate > 0 or (swept and not stretch):
            continue
        one = tried.setdefault(_octaves(rate), Tried(first))
        newest = min([best, *stretch])
        gain = best - newest if finite else 0.0
        one.gain += gain
        one.well |= gain > WELL * progress
        if decision.condition in HARM and place in summary.changes:
            one.harmed |= len(stretch) <= SOON or gain < LEAST_GAIN * progress
        best = newest
    return [tried[key] for key in sorted(tried)]


def _octaves(rate: float) -> int:
    return round(2 * math.log2(rate)) if rate > 0 else -(10**9)
