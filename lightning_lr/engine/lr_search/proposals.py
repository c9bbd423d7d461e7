"""The changes that follow from a search: the first rate, a wrecked run restored, an unconfirmed rate taken back."""

from __future__ import annotations

from lightning_lr.engine import text
from lightning_lr.engine.decisions import Proposal
from lightning_lr.engine.lr_search.guard import CUT, TRIES
from lightning_lr.engine.policies.policy import Response
from lightning_lr.engine.records import Reading, SearchResult
from lightning_lr.engine.vocabulary import Action, Condition


def first_rate(reading: Reading, result: SearchResult) -> Proposal:
    """At the end of a search: go on with the rate that was given, or with another.

    Args:
        reading: the rates as they are without it.
        result: of the search.
    """
    cause, notes = str(result), []
    if result.factor == 1.0:
        notes.append(text.RATE_KEPT if result.anneals else text.RATE_LOW if result.checked else text.RATE_STAYS)
    if not result.anneals:
        notes.append(text.UNCHECKED)
    subject = text.reason(cause, notes)
    evidence = {f"loss at {multiple:.3g}": result.mean(multiple) for multiple in sorted(result.readings)}
    if result.estimate is not None:
        evidence |= {"estimate": result.estimate, "gain": result.gain, "spread": result.spread}
    return Proposal(reading, Condition.HEALTHY, cause, subject, Response(Action.EXPLORE, result.factor), evidence)


def wrecked(reading: Reading, tries: int) -> Proposal:
    """Restore the start, and go on at a quarter of the rate.

    Args:
        reading: the rates as they are.
        tries: how often that was done, with this time.
    """
    cause = text.wrecked(tries, TRIES)
    subject = text.diagnosed(Condition.DIVERGENCE, cause)
    return Proposal(reading, Condition.DIVERGENCE, cause, subject, Response(Action.RESTORE, CUT), urgent=True)


def taken_back(reading: Reading, cause: str, scale: float) -> Proposal:
    """Restore the start, and go on at the rate that was given.

    Args:
        reading: the check.
        cause: in words.
        scale: what the rate was multiplied by since the search, with it.
    """
    return Proposal(reading, Condition.HEALTHY, cause, cause, Response(Action.RESTORE, 1 / scale))
