"""A training of one weight, whose losses are what a script says: nothing depends on kernels, threads or the machine.

The gradient of the weight is always −1, so that plain SGD adds the learning rate to it at each step: it holds the sum
of all rates so far, comes back with a snapshot, and a scripted loss may be a function of it.
"""

from __future__ import annotations

import logging
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, timer
from lightning_utilities.core import rank_zero
from torch.utils.data import DataLoader, TensorDataset

from tests.helpers.versions import ANY_CHECKPOINT

NOISE = [2 * random.Random(number).random() - 1 for number in range(1000)]
"""Between −1 and 1, the same on every machine."""

Loss = Callable[[int, float, float], float]
"""(number of the batch in its epoch, learning rate of the step, sum of the rates so far) → training loss."""
Metrics = Callable[[int, float], Mapping[str, float]]
"""(epoch, sum of the rates so far) → what validation logs."""


def series(*values: float, name: str = "val_loss") -> Metrics:
    """One metric by a list: a value for each epoch, the last one again and again."""
    return lambda epoch, lr_sum: {name: values[min(epoch, len(values) - 1)]}


def falling(batch: int, lr: float, lr_sum: float) -> float:
    """A training loss without a surprise, the same in each epoch but for what the weight has learned."""
    return 0.3 + 2.0 / (1.0 + lr_sum) + 0.02 * NOISE[batch]


class Scripted(LightningModule):
    """One weight; see above.

    Args:
        loss: of a training step.
        metrics: of a validation; ``None`` for no validation.
        lr: of plain SGD.
        groups: names of further parameter groups.
        scheduler: makes a scheduler of the optimizer.
        logged: what ``training_step`` logs over an epoch.
        momentum: gives the optimizer a state.
    """

    def __init__(
        self,
        loss: Loss = falling,
        metrics: Metrics | None = None,
        lr: float = 0.1,
        groups: Sequence[str] = (),
        scheduler: Callable[[Any], Any] | None = None,
        logged: Metrics | None = None,
        momentum: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.others = torch.nn.ParameterList(torch.nn.Parameter(torch.ones(1)) for _ in groups)
        self.script, self.metrics, self.lr, self.names = loss, metrics, lr, groups
        self.scheduler, self.logged, self.momentum = scheduler, logged, momentum

    @property
    def lr_sum(self) -> float:
        """The sum of the rates so far."""
        return float(self.weight.detach())

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        lr = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        value = self.script(int(batch[0]), lr, self.lr_sum)
        scripted = self.metrics(self.current_epoch, self.lr_sum).values() if self.metrics is not None else ()
        if any(map(math.isnan, scripted)):  # the weights are lost: a metric alone may just be undefined
            value = math.nan
        if self.logged is not None:
            self.log_dict(dict(self.logged(self.current_epoch, self.lr_sum)), on_step=False, on_epoch=True)
        return value - (self.weight - self.weight.detach()) + 0.0 * sum(other.sum() for other in self.others)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        assert self.metrics is not None
        for name, value in self.metrics(self.current_epoch, self.lr_sum).items():
            self.log(name, torch.tensor(value, dtype=torch.float64))

    def configure_optimizers(self) -> Any:
        groups = [{"params": [self.weight], "name": "body"} if self.names else {"params": [self.weight]}]
        groups += [{"params": [p], "name": name} for p, name in zip(self.others, self.names, strict=True)]
        optimizer = torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum)
        return [optimizer] if self.scheduler is None else ([optimizer], [self.scheduler(optimizer)])


def batches(count: int) -> DataLoader:
    """Each batch is its own number."""
    return DataLoader(TensorDataset(torch.arange(count)), batch_size=1)


def fit(
    module: Scripted, controller: Any, *others: Callback, steps: int = 4, resumed: Path | None = None, **options: Any
) -> tuple[Trainer, list[str]]:
    """Train.

    Args:
        module: what is trained.
        controller: the callback under test.
        others: further callbacks.
        steps: batches of an epoch.
        resumed: checkpoint to go on from.
        options: of the Trainer.

    Returns:
        The Trainer, and what was printed or warned of.
    """
    quiet = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
    }
    known = ANY_CHECKPOINT if resumed else {}
    with _listening() as said:
        trainer = Trainer(callbacks=[*others, controller], **{**quiet, **options})
        trainer.fit(module, batches(steps), batches(1) if module.metrics else None, ckpt_path=resumed, **known)
    return trainer, said


class Saved(Callback):
    """Writes a checkpoint after one optimizer step, or at the end of the epoch of that step."""

    def __init__(self, path: Path, step: int, epoch_over: bool = False) -> None:
        self.path, self.step, self.epoch_over = path, step, epoch_over

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step and not self.epoch_over:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step and self.epoch_over:
            trainer.save_checkpoint(self.path)


class Clock(Callback):
    """The clock of the Trainer's Timer: so many seconds for each step and each validation.

    Args:
        seconds: of a step, by its number.
        validation: of a validation.
    """

    def __init__(self, seconds: Callable[[int], float], validation: float) -> None:
        self.now, self.seconds, self.validation = 0.0, seconds, validation

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """In place of the real one."""
        with mock.patch.object(timer, "time", mock.Mock(monotonic=lambda: self.now)):
            yield

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        self.now += self.seconds(trainer.global_step)

    def on_validation_start(self, *_: Any) -> None:
        self.now += self.validation


@contextmanager
def _listening() -> Iterator[list[str]]:
    """The sentences of this package, printed or warned of, while inside; those of others are left out."""
    said: list[str] = []

    def take(sentence: str) -> None:
        if sentence.startswith("lightning_lr: "):
            said.append(sentence)

    handler = logging.Handler()
    handler.emit = lambda line: take(line.getMessage())  # type: ignore[method-assign]
    logger = rank_zero.log
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *_, **__: take(str(message))
            yield said
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
