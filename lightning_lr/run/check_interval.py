"""How often to look at the training loss between two validations."""

from __future__ import annotations

import math

CHECKS_PER_RUN = 20
"""Checks that a run should have at least. Weights that became NaN then cost a twentieth of the budget at the most."""

SHORTEST, LONGEST = 100, 1000
"""Steps between two of them. Below 100 a window's mean is mostly noise; beyond 1000 a lost run wastes too much."""

BLOCKS = 8
"""Blocks of the training loss in one such window: eight windows then fill what the detectors remember."""


def steps_between_checks(asked: int | None, budget: int | None, validation: float) -> int | None:
    """Steps from one check to the next; ``None`` where validations come often enough.

    Args:
        asked: what the user said; 0 for none, ``None`` to choose from the budget.
        budget: optimizer steps of the whole run, where that is known.
        validation: steps from one validation to the next; infinite where there is none.

    The interval between two validations is divided evenly: windows of one length have one noise.

    >>> steps_between_checks(None, 10_000, 2_300), steps_between_checks(None, 600, 150)
    (575, None)
    """
    if asked is not None:
        return asked if 0 < asked < validation else None
    wished = LONGEST if budget is None else min(LONGEST, max(SHORTEST, budget // CHECKS_PER_RUN))
    if math.isinf(validation):
        return wished
    parts = int(validation // wished)
    return math.ceil(validation / parts) if parts > 1 else None


def block_size(steps: int | None) -> int:
    """Steps in one block of the training loss: a power of two, as the window doubles its blocks.

    >>> block_size(None), block_size(100), block_size(575)
    (1, 8, 64)
    """
    return 1 if steps is None else int(2 ** max(0, math.floor(math.log2(steps / BLOCKS))))
