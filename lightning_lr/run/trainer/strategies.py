"""What a strategy allows: where each rank holds shards of its own, and where nothing can be put back.

The strategy arrives as an argument and is known by the names of its classes: the two Lightning packages have each their
own. The table of all strategies stands in docs/strategies.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

SHARDED = ("ModelParallelStrategy",)
"""Each rank's snapshot holds other numbers: rank 0's, which a checkpoint keeps, would be wrong on the others."""

NOT_RESTORED = {
    "FSDPStrategy": "its parameters may be temporary copies between two steps; ModelParallelStrategy (FSDP2) can",
    "DeepSpeedStrategy": "it holds a copy of weights and optimizer state that is its own",
    "ZeroRedundancyOptimizer": "each rank holds a part of the optimizer state, out of reach",
}
"""Class of a strategy or an optimizer → why a snapshot of it would not be whole."""


def is_sharded(strategy: Any) -> bool:
    """Whether the parameters on this rank are shards, of which a snapshot is taken all the same."""
    return any(name in SHARDED for name in _names(strategy))


def against_restoring(strategy: Any, optimizers: Sequence[Any]) -> str:
    """Why weights and optimizer state cannot be put back here; empty where they can.

    Args:
        strategy: ``trainer.strategy``.
        optimizers: ``trainer.optimizers``.

    >>> class DeepSpeedStrategy: ...
    >>> against_restoring(DeepSpeedStrategy(), [])
    'DeepSpeedStrategy: it holds a copy of weights and optimizer state that is its own'
    """
    for one in (strategy, *optimizers):
        for name in _names(one):
            if name in NOT_RESTORED:
                return f"{name}: {NOT_RESTORED[name]}"
    strange = [type(one).__name__ for one in optimizers if not isinstance(one, Optimizer)]
    return f"{strange[0]}: it is no torch.optim.Optimizer, and may hold weights of its own" if strange else ""


def _names(thing: Any) -> list[str]:
    return [base.__name__ for base in type(thing).__mro__]
