"""A sentence or two of advice for the next run: where to start, and what the end of this one says."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_lr.engine.history.statistics import trend
from lightning_lr.engine.vocabulary import Action, Condition, Verdict
from lightning_lr.offline.report.good_lr_range import Band
from lightning_lr.offline.report.run_summary import HARM, Story

FAR = 3.0
"""Factor between the first rate and the one that brought most from which on it is worth a word: half a decade."""


def advice_of(story: Story, band: Band) -> list[str]:
    """What to do differently next time."""
    return [sentence for sentence in (_start(story, band), _end(story)) if sentence]


def _start(story: Story, band: Band) -> str:
    first = next((rate for rate in story.rates if rate > 0), math.nan)
    kept = _explored(story)
    better = kept if math.isnan(band.most) else band.most
    if not math.isfinite(first) or not math.isfinite(better):
        return ""
    too_high = math.isfinite(kept) or any(decision.condition in HARM for decision in story.acted)
    ratio = first / better
    if ratio >= FAR and too_high:
        return f"The first rate was about {rounded(ratio):g} times too high; start at {rounded(better):g}."
    if ratio <= 1 / FAR:
        return f"The first rate was about {rounded(1 / ratio):g} times too low; start at {rounded(better):g}."
    return f"The first rate, {first:.3g}, was a good start."


def _explored(story: Story) -> float:
    """The rate that an exploration kept; NaN where there was none."""
    kept = (next(iter(d.new_lr.values()), math.nan) for d in story.acted if d.action is Action.EXPLORE)
    return next(kept, math.nan)


def _end(story: Story) -> str:
    pairs = zip(story.lines, story.values, strict=True)
    known = [(line.reading.epoch, value) for line, value in pairs if math.isfinite(value)]
    if not known:
        return f"{story.name} was never finite: look at the data and the loss before the learning rate."
    overfit = [d for d in story.acted if d.condition is Condition.OVERFITTING]
    epoch, best = min(known, key=lambda pair: pair[1])
    shown = f"the best {story.name}, {story.shown(best):.4g}, came in epoch {epoch}"
    if overfit:
        began = f"It began to overfit by epoch {overfit[0].epoch}"
        since = f"; {shown}, after the cut" if epoch > overfit[0].epoch else f" ({shown})"
        return f"{began}{since}. More data or regularization will bring more than another rate."
    if _improves([value for _, value in known[-10:]]):
        return f"{story.name} still improved at the end: more epochs may bring more."
    stopped = any(d.action is Action.STOP for d in story.acted)
    return (
        f"Training was stopped, since nothing more was won; {shown}." if stopped else f"{shown[0].upper()}{shown[1:]}."
    )


def _improves(values: Sequence[float]) -> bool:
    return trend(values).improving is Verdict.YES


def rounded(value: float) -> float:
    """One significant digit: more would claim more than is known.

    >>> [rounded(value) for value in (33.4, 0.00271, 1.0)]
    [30.0, 0.003, 1.0]
    """
    return float(f"{value:.0e}")
