"""A sentence or two of advice for the next run: which rate to start with, and what the end of this run shows."""

from __future__ import annotations

import math

from lightning_lr.engine.history.statistics import trend
from lightning_lr.engine.vocabulary import Action, Condition, Verdict
from lightning_lr.offline.report.good_lr_range import GoodRange
from lightning_lr.offline.report.run_summary import HARM, RunSummary

FAR = 3.0
"""Factor between the first rate and the one that brought most from which on advice is given: half a decade."""


def advice_of(summary: RunSummary, good: GoodRange) -> list[str]:
    """What to do differently next time."""
    return [sentence for sentence in (_start(summary, good), _end(summary)) if sentence]


def _start(summary: RunSummary, good: GoodRange) -> str:
    first = next((rate for rate in summary.rates if rate > 0), math.nan)
    explored = [d for d in summary.acted if d.action is Action.EXPLORE]
    kept = next(iter(explored[0].new_lr.values()), math.nan) if explored else math.nan
    better = kept if math.isnan(good.most) else good.most
    if not math.isfinite(first) or not math.isfinite(better):
        return ""
    too_high = explored or any(decision.condition in HARM for decision in summary.acted)
    ratio = first / better
    if ratio >= FAR and too_high:
        return f"The first rate was about {rounded(ratio):g} times too high; start at {rounded(better):g}."
    if ratio <= 1 / FAR:
        return f"The first rate was about {rounded(1 / ratio):g} times too low; start at {rounded(better):g}."
    return f"The first rate, {first:.3g}, was a good start."


def _end(summary: RunSummary) -> str:
    if not summary.finite:
        return f"{summary.name} was never finite: look at the data and the loss before the learning rate."
    best = min(summary.finite)
    epoch = summary.lines[summary.values.index(best)].reading.epoch
    shown = f"the best {summary.name}, {summary.shown(best):.4g}, came in epoch {epoch}"
    began = next((d.epoch for d in summary.acted if d.condition is Condition.OVERFITTING), None)
    if began is not None:
        since = f"; {shown}, after the cut." if epoch > began else f" ({shown})."
        more = "More data or regularization will bring more than another rate."
        return f"It began to overfit by epoch {began}{since} {more}"
    if trend(summary.finite[-10:]).improving is Verdict.YES:
        return f"{summary.name} still improved at the end: more epochs may bring more."
    stopped = any(d.action is Action.STOP for d in summary.acted)
    return (
        f"Training was stopped, since nothing more was won; {shown}." if stopped else f"{shown[0].upper()}{shown[1:]}."
    )


def rounded(value: float) -> float:
    """One significant digit: more would claim more than is known.

    >>> [rounded(value) for value in (33.4, 0.00271, 1.0)]
    [30.0, 0.003, 1.0]
    """
    return float(f"{value:.0e}")
