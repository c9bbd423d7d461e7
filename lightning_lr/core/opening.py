"""The decisions that the budget asks for, not the metrics: which rate to begin with, and when to begin the end."""

from __future__ import annotations

from lightning_lr.core.exploration import chosen_rate
from lightning_lr.core.moves import hold, move
from lightning_lr.core.policy import Response
from lightning_lr.core.records import Decision, Diagnosis, Reading
from lightning_lr.core.settings import Settings
from lightning_lr.core.vocabulary import Action, Condition


def explored(reading: Reading, settings: Settings) -> Decision:
    """The decision at the end of an exploration: restore the start, go on with the rate that was chosen.

    Args:
        reading: with a trial, and the rates as they are without it.
        settings: the bounds.
    """
    assert reading.trial is not None
    healthy = Diagnosis(Condition.HEALTHY, (), "")
    rate = chosen_rate(reading.trial)
    if rate is None or not reading.rates:
        said = "explored: the training steps returned no finite loss to judge a rate by; the rate stays"
        return move(reading, healthy, Response(Action.EXPLORE, 1.0), said, settings)
    before = next(iter(reading.rates.values())).applied
    said = f"explored: {reading.trial}; the loss was lowest near {10 * rate:.2g}, a tenth of it is kept"
    return move(reading, healthy, Response(Action.EXPLORE, rate / before), said, settings)


def annealing(reading: Reading) -> Decision:
    """The decision to begin the linear end of the curve."""
    share = "" if reading.progress is None else f"{reading.progress:.0%} of the budget is used: "
    reason = f"anneal: {share}from here on the learning rate falls linearly to zero at the end"
    return hold(reading, Diagnosis(Condition.HEALTHY, (), reason), reason, Action.ANNEAL)
