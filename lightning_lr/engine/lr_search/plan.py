"""How much a search may cost: how long a run must be for one, and how many examples a reading takes."""

from __future__ import annotations

FEWEST_STEPS = 30
"""Optimizer steps that a run must have: the readings take as long as two steps then."""

UNKNOWN = 1000
"""The length that a rate is found for if the budget is unknown: the rate falls with the cube root of it alone."""

FEWEST = 8
"""Examples of each batch that a reading takes at the least: with four the estimate scatters fivefold."""


def search_horizon(budget: int | None) -> int | None:
    """The steps that a rate is to be found for; ``None`` if they are too few for a search.

    >>> search_horizon(500), search_horizon(20), search_horizon(None)
    (500, None, 1000)
    """
    if budget is None:
        return UNKNOWN
    return budget if budget >= FEWEST_STEPS else None


def examples(budget: int, batch: int) -> int:
    """How many examples of each of the four fixed batches one reading takes.

    A batch is what one optimizer step sees, all accumulated batches together. With the five readings of a right rate
    it costs 2 % of 80 and of 150 steps, and 1.4 % of 450 (batches under 32: up to 4 % of 80). Four small batches tell
    more than two large ones: on the batch that made the update the loss is lower, and flatter.

    Args:
        budget: optimizer steps of the run.
        batch: examples of one optimizer step.

    >>> examples(80, 32), examples(80, 16), examples(150, 32), examples(450, 32), examples(450, 4)
    (8, 8, 16, 32, 4)
    """
    share = 0.25 if budget < 150 else 0.5 if budget < 300 else 1.0
    return min(batch, max(FEWEST, round(share * batch)))
