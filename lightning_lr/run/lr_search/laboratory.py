"""What the loss is read with in this run: the module's step, and a copy of whatever it may change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lightning_lr.run.lr_search.kept_state import KeptState
from lightning_lr.run.lr_search.loss_reader import LossReader
from lightning_lr.run.trainer.callback_kinds import is_a
from lightning_lr.run.trainer.trainer_adapter import is_compiled
from lightning_lr.snapshot.constant import bytes_of


def reader_for(trainer: Any, module: Any, no_logger: Callable[[], Any], weights: Sequence[Tensor]) -> LossReader:
    """The reader, with a copy of the state of this moment.

    Args:
        trainer: of the fit.
        module: the LightningModule.
        no_logger: makes a logger that takes any call and does nothing.
        weights: those that are moved, and looked after elsewhere.
    """
    others = [
        vars(one) for one in trainer.callbacks if not is_a(one, "LearningRateController", "LayerwiseLearningRate")
    ]
    moved = {id(tensor) for tensor in weights}
    frozen = [tensor for tensor in module.parameters() if id(tensor) not in moved]
    # An average of the weights, as large as they are at the most, may be changed by the step; a large frozen part of a
    # network is not, and a copy of it might not fit.
    constant = frozen if bytes_of(frozen) > bytes_of(weights) else []
    kept = KeptState([module, *others], without=weights, constant=constant)
    return LossReader(trainer, module, no_logger, kept, is_compiled(module))
