"""The decisions that the budget asks for, not the metrics: which rate to begin with, and when to begin the end."""

from __future__ import annotations

import math
from dataclasses import replace

from lightning_lr.engine.decisions import hold, move
from lightning_lr.engine.lr_search.margin import WITHIN, margin, times
from lightning_lr.engine.lr_search.range_test import Suggestion, suggestion
from lightning_lr.engine.lr_search.trials import between, winner
from lightning_lr.engine.policies.policy import Response
from lightning_lr.engine.records import Decision, Diagnosis, Reading, Trial
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action, Condition


def explored(reading: Reading, settings: Settings) -> Decision:
    """The decision at the end of an exploration: restore the start, go on with the rate that was chosen.

    Args:
        reading: with a trial, and the rates as they are without it.
        settings: the bounds.
    """
    assert reading.trial is not None
    healthy = Diagnosis(Condition.HEALTHY, (), "")
    suggested = suggestion(reading.trial)
    said = f"explored: {reading.trial}; {suggested.seen}"
    if suggested.rate is None or not reading.rates:
        return move(reading, healthy, Response(Action.EXPLORE, 1.0), f"{said}; the rate stays", settings)
    before = next(iter(reading.rates.values())).applied
    rate, how, evidence = _kept(suggested.rate, suggested, reading.trial)
    decision = move(reading, healthy, Response(Action.EXPLORE, rate / before), f"{said}, {how}", settings)
    return replace(decision, evidence=evidence)


def _kept(rate: float, suggested: Suggestion, trial: Trial) -> tuple[float, str, dict[str, float]]:
    """The rate to go on with, why, and the numbers behind it."""
    if not trial.branches or not math.isfinite(winner(trial.branches).loss):
        return rate, f"{suggested.share} is kept", {"suggested": rate}
    kept, (low, high) = between(rate, trial.branches), margin(trial.branches)
    tried = ", ".join(map(str, trial.branches))
    how = (
        f"{suggested.share} and rates beside it were each trained for {trial.branch_steps} annealed steps on the same "
        f"batches, which brought the loss to ({tried}); {kept:.2g} is kept, halfway from the first to the best of these"
        f"; {times(kept, trial.branches)} the short trials stayed within {100 * WITHIN:g} % of the best"
    )
    scores = {f"loss at {branch.rate:.2g}": branch.loss for branch in trial.branches}
    return kept, how, {"suggested": rate, **scores, "margin_low": low, "margin_high": high}


def annealing(reading: Reading) -> Decision:
    """The decision to begin the linear end of the curve."""
    if reading.stops_early:
        why = "EarlyStopping has run out of patience: "
        end = f"step {reading.budget}, and there the run ends"
    else:
        why = "" if reading.progress is None else f"{reading.progress:.0%} of the budget is used: "
        end = "the end"
    reason = f"anneal: {why}from here on the learning rate falls linearly to zero at {end}"
    return hold(reading, Diagnosis(Condition.HEALTHY, (), reason), reason, Action.ANNEAL)
