"""What each change of the learning rate brought, as the engine's review measures it.

For its own decisions the engine has recorded the review in the journal. A change that was not a decision, or is known
from a log without a journal, is reviewed here, with the engine's own :mod:`~lightning_lr.engine.review`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_lr.engine.history.run_history import RunHistory
from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.records import Review
from lightning_lr.engine.review import PendingReview, is_carried_out, is_reviewed
from lightning_lr.engine.vocabulary import Action, Event
from lightning_lr.offline.report.run_summary import RunSummary


@dataclass(frozen=True)
class AdjustmentEffect:
    """One change, and what followed.

    Attributes:
        place: position of the check after which it was made.
        old_rate: of the first group; NaN if unknown.
        new_rate: likewise.
        sentence: what it brought; empty if it is no change that is reviewed.
    """

    place: int
    old_rate: float
    new_rate: float
    sentence: str


def adjustment_effects(summary: RunSummary) -> list[AdjustmentEffect]:
    """Every change of a run with what it brought."""
    recorded = {line.review.check: line.review for line in summary.lines if line.review is not None}
    reviews = {**_reviews(summary), **recorded}
    return [_effect(summary, place, reviews.get(summary.lines[place].decision.check)) for place in summary.changes]


def _effect(summary: RunSummary, place: int, review: Review | None) -> AdjustmentEffect:
    line, later = summary.lines[place], summary.rates[place + 1 : place + 2]
    new = next(iter(line.adjustment.rates.values())).applied if line.adjustment.rates else math.nan
    new_rate = later[0] if later and math.isfinite(later[0]) else new
    return AdjustmentEffect(place, summary.rates[place], new_rate, _sentence(line, review))


def _sentence(line: JournalLine, review: Review | None) -> str:
    if not is_carried_out(line):
        return "nothing: it was not carried out"
    if line.decision.action is Action.STOP:
        return "training ended"
    if not is_reviewed(line):
        return ""
    return "not known: too few checks came after it" if review is None else review.brought


def _reviews(summary: RunSummary) -> dict[int, Review]:
    """Check of each change that is no recorded decision → its review."""
    of = summary.settings
    history = RunHistory(of.monitors, of.mode, of.train_monitor, of.min_delta, of.policy.rel_delta)
    found: dict[int, Review] = {}
    pending: PendingReview | None = None
    for place, line in enumerate(summary.lines):
        if line.event not in (Event.CHECK, Event.TRAIN_CHECK):
            continue
        monitor = history.update(line.reading, line.event is Event.TRAIN_CHECK).monitors[0]
        changed = place in summary.changes
        pending = pending and pending.counted(monitor)
        if pending and pending.checks and (pending.is_due or changed):
            found[pending.check] = pending.review(monitor)
        if changed:
            pending = PendingReview.of(line.decision, monitor)
            history.restart()
        elif pending and pending.is_due:
            pending = None
    return found
