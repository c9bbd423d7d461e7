"""What looks at the losses after each epoch: nothing, torch's rule, Lightning's stopping, and our engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from lightning_lr.engine.bounds import bounded
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.records import Rate, Reading
from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.vocabulary import Action
from lightning_lr.run.check_interval import block_size, steps_between_checks
from lightning_lr.run.readings.loss_window import LossWindow, window_from_totals

PATIENCES, FACTORS, OURS = (2, 3, 5, 10), (0.1, 0.5), ("conservative", "auto")


@dataclass(frozen=True)
class Answer:
    """What a rule wants after an epoch.

    Attributes:
        lr: the rate from here on.
        said: what was decided; empty if nothing changes.
        restores: whether the kept state is put back.
        keeps: whether the present one is kept.
        stops: whether the run ends.
    """

    lr: float
    said: str = ""
    restores: bool = False
    keeps: bool = False
    stops: bool = False


class Rule(Protocol):
    """One of a run."""

    def look(self, epoch: int, losses: Sequence[float], validation: float, lr: float) -> Answer:
        """Answer after an epoch, from the losses of its steps and of the validation."""


class Nothing:
    """The rate stays."""

    def look(self, epoch: int, losses: Sequence[float], validation: float, lr: float) -> Answer:
        """The rate stays."""
        return Answer(lr)


class Plateau:
    """``ReduceLROnPlateau`` of torch."""

    def __init__(self, patience: int, factor: float, lr: float) -> None:
        self.optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, patience=patience, factor=factor)

    def look(self, epoch: int, losses: Sequence[float], validation: float, lr: float) -> Answer:
        """Step the scheduler."""
        self.scheduler.step(validation)
        now = float(self.optimizer.param_groups[0]["lr"])
        return Answer(now, said="reduce" if now != lr else "")


class Stopping:
    """``EarlyStopping`` of Lightning."""

    def __init__(self, patience: int) -> None:
        self.patience, self.best, self.at = patience, math.inf, 0

    def look(self, epoch: int, losses: Sequence[float], validation: float, lr: float) -> Answer:
        """Stop after so many epochs without a new best, or if the loss is lost."""
        if validation < self.best:
            self.best, self.at = validation, epoch
        stops = not math.isfinite(validation) or epoch - self.at >= self.patience
        return Answer(lr, said="stop" * stops, stops=stops)


class Ours:
    """The engine, given what a Trainer gives it: ``tests/benchmarks/test_reactive.py`` compares their decisions.

    Args:
        policy: by name, or an object.
        epochs: the budget.
        steps: of an epoch.
        lr: at the start.
        untrained: validation loss before training, from the sanity check.
    """

    def __init__(self, policy: Any, epochs: int, steps: int, lr: float, untrained: float) -> None:
        settings = settings_from(monitor="val_loss", policy=policy)
        self.engine, self.restores = DecisionEngine(settings), settings.policy.restores
        self.epochs, self.steps, self.scheduled, self.untrained = epochs, steps, lr, untrained
        self.scale, self.snapshot = 1.0, -1
        self.decisions: list[Any] = []
        self.window = LossWindow()
        self.window.block_of(block_size(steps_between_checks(None, epochs * steps, steps)))

    def look(self, epoch: int, losses: Sequence[float], validation: float, lr: float) -> Answer:
        """Ask the engine."""
        for loss in losses:
            self.window.append(torch.tensor(loss))
        read = window_from_totals(self.window.totals(), 1)
        self.window.restart()
        decision = self.engine.check(
            Reading(
                check=epoch,
                epoch=epoch,
                step=(epoch + 1) * self.steps,
                metrics={"val_loss": validation},
                train=read,
                rates={"lr": Rate(self.scheduled, self.scale, lr)},
                snapshot_check=self.snapshot if self.restores else None,
                progress=(epoch + 1) / self.epochs,
                budget=self.epochs * self.steps,
                untrained={} if epoch else {"val_loss": self.untrained},
            )
        )
        keeps = self.restores and self.engine.is_best
        self.snapshot = epoch if keeps else self.snapshot
        if decision.action is Action.HOLD:
            return Answer(lr, keeps=keeps)
        self.decisions.append(decision)
        self.scale *= decision.factor
        said = f"{decision.condition}: {decision.action}"
        restores, stops = decision.snapshot_check is not None, decision.action is Action.STOP
        return Answer(bounded(self.scheduled, self.scale), said, restores, keeps, stops)
