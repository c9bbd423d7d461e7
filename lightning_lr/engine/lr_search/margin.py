"""How far the rate that an exploration keeps could be raised or lowered, as far as its short trials tell.

Each trial trained the same few steps on the same batches from the same state, so their training losses compare. What
the whole run would have come to at another rate, nobody has measured, and no sentence here claims it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning_lr.engine.records import Branch, Trial

WITHIN = 0.05
"""Trials whose loss is within 5 % of the best performed well: they tell the margin of the rate that is kept."""


def margin(branches: Sequence[Branch]) -> tuple[float, float]:
    """Lowest and highest rate that were tried and performed within 5 % of the best.

    >>> margin([Branch(0.1, 0.41), Branch(0.3, 0.4), Branch(0.9, 0.6)])
    (0.1, 0.3)
    """
    best = min(branch.loss for branch in branches)
    good = [branch.rate for branch in branches if branch.loss <= best + WITHIN * abs(best)]
    return min(good), max(good)


def times(kept: float, branches: Sequence[Branch]) -> str:
    """The margin as multiples of the rate that is kept, which need not be one of those that were tried.

    >>> times(0.2, [Branch(0.1, 0.41), Branch(0.3, 0.4)]), times(0.2, [Branch(0.1, 0.6), Branch(0.3, 0.4)])
    ('between 0.5 and 1.5 times that rate', 'at 1.5 times that rate alone')
    """
    low, high = margin(branches)
    if low == high:
        return f"at {low / kept:.2g} times that rate alone"
    return f"between {low / kept:.2g} and {high / kept:.2g} times that rate"


def in_words(kept: float, trial: Trial) -> tuple[str, ...]:
    r"""What the trials say of the margin, and what they leave open: for the report.

    Args:
        kept: the rate that the run went on with.
        trial: the exploration; its branches are the trials. Without any there is nothing to say.

    >>> tried = (Branch(0.1, 0.41), Branch(0.3, 0.4), Branch(0.9, 0.6))
    >>> print("\n".join(in_words(0.2, Trial((), (), tried, branch_steps=30))))
    The exploration kept 0.2. Its short trials of 30 steps stayed within 5 % of the best of them between 0.5 and ...
    At 4.5 times it the training loss was 50 % higher. No lower rate was tried.
    The trials are short: how the whole run would have ended at these rates was not measured.
    """
    if not trial.branches or not math.isfinite(min(branch.loss for branch in trial.branches)):
        return ()
    low, high = margin(trial.branches)
    rates = f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}"
    stayed = f"stayed within {100 * WITHIN:g} % of the best of them {times(kept, trial.branches)} ({rates})"
    lower = [branch for branch in trial.branches if branch.rate < low]
    higher = [branch for branch in trial.branches if branch.rate > high]
    outside = [_worse(max(lower, key=_rate), kept, trial) if lower else "No lower rate was tried."]
    outside.insert(0, _worse(min(higher, key=_rate), kept, trial) if higher else "No higher rate was tried.")
    return (
        f"The exploration kept {kept:.2g}. Its short trials of {trial.branch_steps} steps {stayed}.",
        " ".join(outside),
        "The trials are short: how the whole run would have ended at these rates was not measured.",
    )


def _rate(branch: Branch) -> float:
    return branch.rate


def _worse(branch: Branch, kept: float, trial: Trial) -> str:
    """The nearest trial outside of the margin."""
    best = min(other.loss for other in trial.branches)
    share = (branch.loss - best) / abs(best) if best else math.nan  # beside a best of 0 no share can be told
    much = "no number" if math.isinf(branch.loss) else f"{100 * share:.0f} % higher" if best else "higher"
    return f"At {branch.rate / kept:.2g} times it the training loss was {much}."
