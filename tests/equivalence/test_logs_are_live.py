"""A replay of what the loggers wrote sees what our callback saw: the first action comes at the same check, or the next.

Class: one batch in fifty is no mean. ``self.log`` by its defaults, by the step, by the epoch, and both.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

pytest.importorskip("torch", exc_type=ImportError)
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_lr import LearningRateController
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.settings import settings_from
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline.logs.sources import open_run
from tests.helpers.scripted import data, trainer

EPOCHS, STEPS = 26, 7
LOGGED: dict[str, dict[str, bool]] = {
    "defaults": {},
    "on_step": {"on_step": True, "on_epoch": False},
    "on_epoch": {"on_step": False, "on_epoch": True},
    "both": {"on_step": True, "on_epoch": True},
}


class Noisy(torch.nn.Module):
    """The losses of a run: training falls in noise; validation turns, stands, rises again, or diverges with it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = Random(seed)
        turn = 4 + 2 * seed
        self.train_loss = [
            1.4 * 0.97 ** (step / STEPS) + 0.1 * rng.gauss(0, 1) + (seed == 4) * 0.05 * max(0, step - STEPS * 14)
            for step in range(EPOCHS * STEPS)
        ]
        late = {0: 0.04, 1: 0.0, 2: 0.02, 3: 0.01, 4: 0.2}[seed]
        self.val_loss = [
            1.5 - 0.08 * min(epoch, turn) + late * max(0, epoch - turn) + 0.01 * rng.gauss(0, 1)
            for epoch in range(EPOCHS)
        ]


def fitted(tmp_path, seed: int, logged: dict[str, bool]) -> LearningRateController:
    from lightning.pytorch import LightningModule

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.losses, self.step = torch.nn.Parameter(torch.zeros(())), Noisy(seed), 0

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = 0 * self.weight + self.losses.train_loss[self.trainer.global_step]
            self.log("train_loss", loss, **logged)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", torch.tensor(self.losses.val_loss[self.current_epoch], dtype=torch.float64))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    ours = LearningRateController("val_loss", policy="conservative", dry_run=True, verbose=False)
    loggers = [CSVLogger(tmp_path, name="csv", version=""), TensorBoardLogger(tmp_path, name="tb", version="")]
    options = {"max_epochs": EPOCHS, "log_every_n_steps": 50, "num_sanity_val_steps": 0}
    trainer([ours], tmp_path, logger=loggers, **options).fit(Module(), data(STEPS), data(1))
    return ours


def first_of(decisions):
    return next(((d.check, d.condition) for d in decisions if d.action is not Action.HOLD), None)


@pytest.mark.parametrize("style", LOGGED)
@pytest.mark.parametrize("seed", range(5))
def test_the_first_action_is_the_same(tmp_path, seed, style):
    live = first_of(fitted(tmp_path, seed, LOGGED[style]).decisions)
    assert live is not None
    for folder in ("csv", "tb"):
        run = open_run(tmp_path / folder)
        settings = settings_from(monitor=run.settings.monitors, policy="conservative")
        engine = DecisionEngine(settings)
        replayed = first_of(engine.check(line.reading) for line in run.lines())
        assert replayed is not None
        assert (abs(replayed[0] - live[0]) <= 1, replayed[1]) == (True, live[1])
