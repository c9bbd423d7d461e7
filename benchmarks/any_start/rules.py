"""What a peer needs beside an optimizer and a scheduler: rules that follow each step's loss, and switches of mode."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn

EACH_EVALUATION = 16  # batches that renew batch norm's averages


class GreedyRule(pl.Callback):
    """``transformers.GreedyLR``, stepped with the loss of each training step, its own smoothing on.

    Its Trainer steps it after each evaluation, of which a short run has too few to get anywhere (anchors.md, 1.1). Its
    bounds are absolute; here the lower one is a thousandth of the start, so that rates of Adam can be lowered at all.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        from transformers.optimization import GreedyLR

        lr = trainer.optimizers[0].param_groups[0]["lr"]
        self.rule = GreedyLR(trainer.optimizers[0], smooth=True, min_lr=lr * 1e-3, max_lr=max(1.0, lr))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        loss = outputs["loss"].item()
        if math.isfinite(loss):
            self.rule.step(loss)


def chance_of_fall(losses: Sequence[float], robust: bool = False) -> float:
    """P(slope < 0) of a straight line through the losses, as dlib computes it: residuals taken as independent."""
    values = np.asarray(losses, dtype=float)
    steps = np.arange(len(values), dtype=float)
    if robust:  # without the highest tenth
        kept = values <= np.quantile(values, 0.9)
        values, steps = values[kept], steps[kept]
    if len(values) < 3:
        return 0.5
    slope, intercept = np.polyfit(steps, values, 1)
    residual = values - (slope * steps + intercept)
    n = len(values)
    deviation = math.sqrt(12 * float(residual @ residual) / (n - 2) / (n**3 - n))
    return NormalDist().cdf(-slope / deviation) if deviation > 0 else float(slope < 0)


class DlibRule(pl.Callback):
    """The rule of dlib's ``dnn_trainer`` (anchors.md, 1.2), its threshold of 2000 steps made an eighth of the budget.

    The rate falls to a tenth where the last ``threshold`` losses are as likely to rise as to fall. At each "disk sync"
    (here a tenth of the budget) a run that got worse goes back to the one before.
    """

    def __init__(self, budget: int) -> None:
        self.threshold = max(20, budget // 8)
        self.sync = max(30, budget // 10)
        self.losses: list[float] = []
        self.recent: list[float] = []
        self.certainty = 0.99
        self.kept: tuple[Any, Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.kept = _copy(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"].item()
        self.losses.append(loss)
        self.recent.append(loss)
        step = trainer.global_step
        if step % max(1, self.threshold // 20) == 0:
            self._maybe_shrink(trainer.optimizers[0])
        if step % self.sync == 0:
            self._sync(trainer, pl_module)

    def _maybe_shrink(self, optimizer: torch.optim.Optimizer) -> None:
        window = [loss for loss in self.losses[-self.threshold :] if math.isfinite(loss)]
        if len(window) < self.threshold:
            return
        if chance_of_fall(window) < 0.51 and chance_of_fall(window, robust=True) < 0.51:
            _multiply(optimizer, 0.1)
            # 400 + T/10 of the oldest of T = 2000
            self.losses = window[int(0.3 * self.threshold) :]

    def _sync(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self.kept is not None
        finite = all(map(math.isfinite, self.recent))
        worse = not finite or (
            len(self.recent) >= 30
            and max(1 - chance_of_fall(self.recent), 1 - chance_of_fall(self.recent, robust=True)) > self.certainty
        )
        if worse:
            lr = trainer.optimizers[0].param_groups[0]["lr"]
            pl_module.load_state_dict(self.kept[0])
            trainer.optimizers[0].load_state_dict(copy.deepcopy(self.kept[1]))
            for group in trainer.optimizers[0].param_groups:
                group["lr"] = lr
            self.certainty = min(0.1 * self.certainty + 0.9, 0.99999)
            if self.certainty >= 0.99999:
                _multiply(trainer.optimizers[0], 0.1)
            self.losses, self.recent = [], []
        else:
            self.certainty = max(self.certainty**10, 0.99)
            self.kept = _copy(trainer, pl_module)
            self.recent = self.recent[-self.sync :]


def _copy(trainer: pl.Trainer, pl_module: pl.LightningModule) -> tuple[Any, Any]:
    return copy.deepcopy(pl_module.state_dict()), copy.deepcopy(trainer.optimizers[0].state_dict())


def _multiply(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= factor


class ScheduleFreeModes(pl.Callback):
    """Schedule-Free trains at one point and is evaluated at another; batch norm's averages belong to the second.

    They are renewed before each evaluation, as its README tells; the forward passes are charged (``forwards``).
    """

    def __init__(self) -> None:
        self.forwards = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _mode(trainer, "train")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _mode(trainer, "eval")
        self.forwards += renew_batch_norm(pl_module, trainer.train_dataloader)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _mode(trainer, "train")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _mode(trainer, "eval")
        self.forwards += renew_batch_norm(pl_module, trainer.train_dataloader)


def _mode(trainer: pl.Trainer, name: str) -> None:
    for optimizer in trainer.optimizers:
        getattr(optimizer, name)()


def has_batch_norm(model: nn.Module) -> bool:
    """Whether there are averages to renew."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def renew_batch_norm(model: nn.Module, loader: Any, batches: int = EACH_EVALUATION) -> int:
    """Forward passes in training mode; the mode comes back. Returns how many."""
    if not has_batch_norm(model):
        return 0
    modes = {module: module.training for module in model.modules()}
    model.train()
    with torch.no_grad():
        for inputs, _ in itertools.islice(iter(loader), batches):
            model(inputs)
    for module, training in modes.items():
        module.training = training
    return batches


class GiveUp(pl.Callback):
    """End a run whose loss has not been finite for twenty steps, to save the time: no peer that has this recovers."""

    def __init__(self) -> None:
        self.in_a_row = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self.in_a_row = 0 if torch.isfinite(outputs["loss"]) else self.in_a_row + 1
        if self.in_a_row >= 20:
            trainer.should_stop = True
