"""The first learning rate: what a search comes to, and how far that rate could be raised or lowered.

Each trial trained the same few steps on the same batches from the same state, so their training losses compare. What
the whole run would have come to at another rate was not measured, and no sentence claims it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_lr.engine import text
from lightning_lr.engine.decisions import Proposal
from lightning_lr.engine.lr_search.range_test import Suggestion, suggestion
from lightning_lr.engine.lr_search.trials import between, winner
from lightning_lr.engine.policies.policy import Response
from lightning_lr.engine.records import Branch, Reading, Trial
from lightning_lr.engine.vocabulary import Action, Condition

WITHIN = 0.05
"""Trials whose loss is within 5 % of the best performed well: they tell the margin of the rate that is kept."""


def first_rate(reading: Reading, trial: Trial) -> Proposal:
    """At the end of a search: restore the start, go on with the rate that was chosen.

    Args:
        reading: the rates as they are without it.
        trial: what was tried.
    """
    suggested, kept, factor = suggestion(trial), "; the rate stays", 1.0
    evidence: dict[str, float] = {}
    if suggested.rate is not None and reading.rates:
        rate, how, evidence = _kept(suggested.rate, suggested, trial)
        kept, factor = f", {how}", rate / next(iter(reading.rates.values())).applied
    cause = f"{trial}; {suggested.seen}{kept}"
    return Proposal(reading, Condition.HEALTHY, cause, f"explored: {cause}", Response(Action.EXPLORE, factor), evidence)


def _kept(rate: float, suggested: Suggestion, trial: Trial) -> tuple[float, str, dict[str, float]]:
    """The rate to go on with, why, and the numbers behind it."""
    if not trial.branches or not math.isfinite(winner(trial.branches).loss):
        return rate, f"{suggested.share} is kept", {"suggested": rate}
    kept, (low, high) = between(rate, trial.branches), margin(trial.branches)
    tried, around = ", ".join(map(str, trial.branches)), text.margin(low / kept, high / kept)
    how = text.rate_kept(suggested.share, kept, trial.branch_steps, tried, around, WITHIN)
    scores = {f"loss at {branch.rate:.2g}": branch.loss for branch in trial.branches}
    return kept, how, {"suggested": rate, **scores, "margin_low": low, "margin_high": high}


def margin(branches: Sequence[Branch]) -> tuple[float, float]:
    """Lowest and highest rate that were tried and performed within 5 % of the best.

    >>> margin([Branch(0.1, 0.41), Branch(0.3, 0.4), Branch(0.9, 0.6)])
    (0.1, 0.3)
    """
    best = min(branch.loss for branch in branches)
    good = [branch.rate for branch in branches if branch.loss <= best + WITHIN * abs(best)]
    return min(good), max(good)


def margin_in_words(kept: float, trial: Trial) -> tuple[str, ...]:
    r"""What the trials say of the margin, and what they leave open: for the report.

    Args:
        kept: the rate that the run went on with.
        trial: the search; its branches are the trials. Without any there is nothing to say.

    >>> tried = (Branch(0.1, 0.41), Branch(0.3, 0.4), Branch(0.9, 0.6))
    >>> print("\n".join(margin_in_words(0.2, Trial((), (), tried, branch_steps=30))))
    The exploration kept 0.2. Its short trials of 30 steps stayed within 5 % of the best of them between 0.5 and ...
    At 4.5 times it the training loss was 50 % higher. No lower rate was tried.
    The trials are short: how the whole run would have ended at these rates was not measured.
    """
    if not trial.branches or not math.isfinite(min(branch.loss for branch in trial.branches)):
        return ()
    (low, high), best = margin(trial.branches), min(branch.loss for branch in trial.branches)
    higher = min((branch for branch in trial.branches if branch.rate > high), key=_rate, default=None)
    lower = max((branch for branch in trial.branches if branch.rate < low), key=_rate, default=None)

    def outside(branch: Branch) -> str:
        return text.trial_outside(branch.rate / kept, (branch.loss - best) / abs(best) if best else None)

    return (
        text.trials_kept(kept, trial.branch_steps, low, high, WITHIN),
        f"{outside(higher) if higher else text.NO_HIGHER_RATE} {outside(lower) if lower else text.NO_LOWER_RATE}",
        text.TRIALS_ARE_SHORT,
    )


def _rate(branch: Branch) -> float:
    return branch.rate
