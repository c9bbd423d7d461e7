"""What a colleague would say of a run: what became of it, and with which rate to start the next one."""

from __future__ import annotations

import math

from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.offline.report.conclusion import Conclusion, Kind
from lightning_lr.offline.report.good_lr_range import GoodRange
from lightning_lr.offline.report.run_summary import HARM, RunSummary

FAR = 3.0
"""Factor between the first rate and the one that brought most from which on advice is given: half a decade."""


def advice_of(summary: RunSummary, good: GoodRange, conclusion: Conclusion) -> list[str]:
    """What became of the run, and what to do differently next time."""
    return [*conclusion.sentences, *filter(None, (_answered(summary, conclusion), _start(summary, good)))]


def _answered(summary: RunSummary, conclusion: Conclusion) -> str:
    """What the callback did about it, if that brought something or ended the run."""
    if any(decision.action is Action.STOP for decision in summary.acted):
        return "Training was stopped, since the last restores brought no gain."
    cut = next((d for d in summary.acted if d.condition is Condition.OVERFITTING), None)
    if cut is None or conclusion.kind is Kind.OVERFITTING or not summary.finite:
        return ""
    best = min(summary.finite)
    epoch = summary.lines[summary.values.index(best)].reading.epoch
    if epoch <= cut.epoch:
        return ""
    shown = f"the best {summary.name}, {summary.shown(best):.4g}, came in epoch {epoch}, after the cut"
    return f"It had begun to overfit by epoch {cut.epoch}; {shown}."


def _start(summary: RunSummary, good: GoodRange) -> str:
    """Whether the first rate was a good one: told by the decisions that followed, never by a schedule.

    A warm-up begins with a rate that is not meant to last, and a search replaces the first rate before it was tried.
    """
    first, better = next((rate for rate in summary.rates if rate > 0), math.nan), good.most
    searched = any(decision.action is Action.EXPLORE for decision in summary.acted)
    if searched or not math.isfinite(first) or not math.isfinite(better):
        return ""
    ratio = first / better
    if ratio >= FAR and any(decision.condition in HARM for decision in summary.acted):
        return f"The first rate was about {rounded(ratio):g} times too high; start at {rounded(better):g}."
    if ratio <= 1 / FAR and any(decision.action is Action.RAISE for decision in summary.acted):
        return f"The first rate was about {rounded(1 / ratio):g} times too low; start at {rounded(better):g}."
    risen = max(rate for rate in summary.rates if math.isfinite(rate)) > first
    if 1 / FAR < ratio < FAR and good.tried > 1 and not risen:
        falls = summary.rates[0] != summary.rates[1] and 0 not in summary.changes  # it began higher, within the epoch
        return f"The {'rate of the first check' if falls else 'first rate'}, {first:.3g}, was a good start."
    return ""


def rounded(value: float) -> float:
    """One significant digit: more would claim more than is known.

    >>> [rounded(value) for value in (33.4, 0.00271, 1.0)]
    [30.0, 0.003, 1.0]
    """
    return float(f"{value:.0e}")
