"""A run as the optimizer saw it: which rate each step used, and which one was shown before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tests.helpers.scripted import data, trainer

EPOCHS, BATCHES = 8, 3
"""Long enough for four cuts and all turns of a schedule, short enough for a hundred runs."""


@dataclass
class Recorder(Callback):
    """Put it last: it hooks into the optimizers' steps after everybody else.

    Attributes:
        used: for each step of any optimizer the rate of every group.
        shown: the same at the start of each training batch, for the first optimizer.
        left: what the groups of the first optimizer hold in the end.
        ours: what to note at each step beside it, usually the scale.
    """

    ours: Callable[[], Any] = lambda: None
    used: list[list[float]] = field(default_factory=list)
    noted: list[Any] = field(default_factory=list)
    shown: list[list[float]] = field(default_factory=list)
    left: list[float] = field(default_factory=list)

    __hash__ = object.__hash__

    @property
    def state_key(self) -> str:
        return "Recorder"

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        for optimizer in trainer.optimizers:
            if hasattr(optimizer, "register_step_pre_hook"):
                optimizer.register_step_pre_hook(self._record)

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        self.shown.append(rates(trainer.optimizers[0]))

    def on_train_end(self, trainer: Any, *_: Any) -> None:
        self.left = rates(trainer.optimizers[0])

    def _record(self, optimizer: Any, *_: Any) -> None:
        self.used.append(rates(optimizer))
        self.noted.append(self.ours())


def rates(optimizer: Any) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]


class Small(LightningModule):
    """A linear layer; ``val_score`` never changes, so a controller with ``patience=1`` cuts at every other check.

    Args:
        configure: from the module to what ``configure_optimizers`` returns.
    """

    def __init__(self, configure: Callable[[Any], Any]) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.configure = configure

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0]).pow(2).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_score", 1.0)

    def configure_optimizers(self) -> Any:
        return self.configure(self)


class SmallManual(Small):
    """The same with manual optimization; accumulation and schedulers are the module's own affair.

    Args:
        accumulation: batches a step.
        interval: when the schedulers step, ``"step"`` or ``"epoch"``.
        step_scheduler: how to step one.
    """

    def __init__(
        self,
        configure: Callable[[Any], Any],
        accumulation: int = 1,
        interval: str = "step",
        step_scheduler: Callable[[Any], None] = lambda scheduler: scheduler.step(),
    ) -> None:
        super().__init__(configure)
        self.automatic_optimization = False
        self.accumulation, self.interval, self.step_scheduler = accumulation, interval, step_scheduler

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizers = self.optimizers()
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            self.manual_backward(self.layer(batch[0]).pow(2).mean())
            if (batch_idx + 1) % self.accumulation == 0:
                optimizer.step()
                optimizer.zero_grad()
        if (batch_idx + 1) % self.accumulation == 0 and self.interval == "step":
            self._step_schedulers()

    def on_train_epoch_end(self) -> None:
        if self.interval == "epoch":
            self._step_schedulers()

    def _step_schedulers(self) -> None:
        schedulers = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers] if schedulers else []:
            self.step_scheduler(scheduler)


def run(module: LightningModule, callbacks: Sequence[Any] = (), ours: Any = None, **options: Any) -> Recorder:
    """Train, with a recorder behind the callbacks; ``ours`` is a controller whose scale is noted at each step."""
    recorder = Recorder(lambda: dict(ours.scale)) if ours is not None else Recorder()
    fit(module, [*callbacks, recorder], **options)
    return recorder


def fit(module: LightningModule, callbacks: Sequence[Any] = (), **options: Any) -> Trainer:
    """Train quickly and quietly; no sanity check, since that logs the metrics once more."""
    settings = {"max_epochs": EPOCHS, "num_sanity_val_steps": 0, "limit_val_batches": 1, **options}
    checkpoint = settings.pop("ckpt_path", None)
    made = trainer(list(callbacks), **settings)
    made.fit(module, data(BATCHES), data(1), ckpt_path=checkpoint)
    return made
