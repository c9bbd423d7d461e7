"""Averaged copies of the weights that other callbacks keep: they go back together with the weights.

Lightning's ``WeightAveraging`` and ``EMAWeightAveraging`` mix the weights of every step into a copy, with which they
validate and which they leave behind at the end. Steps that were taken back must leave it as well: one loss that is no
number, in a sweep over learning rates, would stay in the average for good.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn


def averaged_models_of(callbacks: Iterable[Any]) -> dict[str, nn.Module]:
    """The averages, by callback and attribute: each :class:`torch.optim.swa_utils.AveragedModel` that a callback holds.

    It counts in a buffer how many steps it holds, so its parameters and buffers are all of it. The average of
    ``StochasticWeightAveraging`` is another class, without that count, and is left alone. An average that is a part of
    the LightningModule is copied with that.

    Args:
        callbacks: ``trainer.callbacks``.
    """
    return {
        f"{callback.state_key}.{name}": held
        for callback in callbacks
        for name, held in vars(callback).items()
        if _is_average(held)
    }


def _is_average(held: Any) -> bool:
    # By name, since the class lies in a part of torch that costs an import.
    return isinstance(held, nn.Module) and any(base.__name__ == "AveragedModel" for base in type(held).__mro__)
