"""The loss of fixed batches, by the module's own ``training_step``, after which everything is as it was before."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torchmetrics import Metric

from lightning_lr.run.lr_search.contained import without_trace
from lightning_lr.run.lr_search.fixed_batches import Unit, copied
from lightning_lr.run.lr_search.kept_state import KeptState
from lightning_lr.run.readings.loss_window import loss_of


class NotReadableError(Exception):
    """The loss cannot be read here; says why."""


class LossReader:
    """Calls ``training_step`` without a trace.

    Train mode, precision and whatever was put on the module are those of a training step; no hook is called, nothing is
    logged, no gradient is kept, and each reading begins with the same random numbers.

    Args:
        trainer: of the fit.
        module: the LightningModule.
        no_logger: makes a logger that takes any call and does nothing.
        kept: what a step may change outside of the trained weights.
        compiled: whether the step is compiled: then gradients are recorded, or it would be compiled once more.

    Attributes:
        records_gradients: whether readings record gradients, which nothing uses.
    """

    def __init__(
        self, trainer: Any, module: nn.Module, no_logger: Callable[[], Any], kept: KeptState, compiled: bool = False
    ) -> None:
        self.trainer, self.module, self.no_logger, self.kept = trainer, module, no_logger, kept
        self.records_gradients, self._has_read = compiled, False
        step: Any = module.training_step
        self.takes_index = takes_index(step)

    def losses(self, units: Sequence[Unit]) -> list[float | Exception]:
        """For each unit its mean loss, or why there is none; everything is put back."""
        found = [self._loss(unit) for unit in units]
        if isinstance(found[0], RuntimeError) and not (self.records_gradients or self._has_read):
            self.records_gradients = True  # a loss with derivatives in it cannot do without
            found = [self._loss(unit) for unit in units]
        self._has_read = True
        return found

    def logged(self, units: Sequence[Unit]) -> dict[str, float]:
        """What ``validation_step`` logs of each batch, mean over them; everything is put back."""
        values: dict[str, list[float]] = {}
        for batch, index in [pair for unit in units for pair in unit.batches]:
            try:
                with without_trace(self.trainer, self.module, self.no_logger):
                    for name, value in self._validated(batch, index).items():
                        values.setdefault(name, []).append(value)
            finally:
                self.kept.put_back()
        return {name: sum(found) / len(found) for name, found in values.items() if all(map(math.isfinite, found))}

    def _validated(self, batch: Any, index: int) -> dict[str, float]:
        logged: dict[str, Any] = {}

        def log(name: str, value: Any, *_: Any, **__: Any) -> None:
            logged[name] = value

        def log_dict(values: Any, *_: Any, **__: Any) -> None:
            logged.update(values)

        vars(self.module).update(log=log, log_dict=log_dict)
        self.module.eval()
        step: Any = self.module.validation_step
        with self.trainer.precision_plugin.val_step_context(), torch.no_grad():
            step(*((copied(batch), index) if takes_index(step) else (copied(batch),)))
            return {name: float(one.compute() if isinstance(one, Metric) else one) for name, one in logged.items()}

    def _loss(self, unit: Unit) -> float | Exception:
        try:
            with without_trace(self.trainer, self.module, self.no_logger):
                read = [self._batch_loss(batch, index) for batch, index in unit.batches]
        except torch.OutOfMemoryError as error:
            raise NotReadableError("a forward pass beside the ordinary ones does not fit into memory") from error
        except Exception as error:
            return error
        finally:
            self.kept.put_back()
        losses = [loss for loss in read if loss is not None]  # a batch without one is a skipped batch
        if not losses:
            return NotReadableError("training_step returns no loss")
        mean = sum(losses) / len(losses)
        return mean if math.isfinite(mean) else math.inf

    def _batch_loss(self, batch: Any, index: int) -> float | None:
        arguments = (copied(batch), index) if self.takes_index else (copied(batch),)
        step: Any = self.module.training_step
        with self.trainer.precision_plugin.train_step_context(), torch.set_grad_enabled(self.records_gradients):
            loss = loss_of(step(*arguments))
        return None if loss is None else float(loss)


def takes_index(step: Callable[..., Any]) -> bool:
    """Whether a ``training_step`` takes the index of the batch, as Lightning finds out.

    >>> takes_index(lambda batch: 0), takes_index(lambda batch, i: 0), takes_index(lambda *args: 0)
    (False, True, True)
    """
    parameters = inspect.signature(step).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return "batch_idx" in inspect.signature(step).parameters or len(positional) >= 2
