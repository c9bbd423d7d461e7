"""A rate that the search chose is taken back: the weights are those of the start, however good the check looks."""

from __future__ import annotations

from typing import Any

import torch

from lightning_lr import LearningRateController
from tests.helpers.scripted import Scripted, data, trainer


class Recorded(Scripted):
    """Keeps the weights before the first step, and before the first step of each epoch."""

    def __init__(self, script: dict[str, list[float]], lr: float) -> None:
        super().__init__(script, lr=lr)
        self.seen: list[torch.Tensor] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.seen.append(self.layer.weight.detach().clone())


def test_a_first_validation_does_not_write_over_the_start() -> None:
    """Class: the check that restores sets a best itself, since it is the first, and the training loss has fallen."""
    control = LearningRateController(find_lr=True, verbose=False)
    module = Recorded({"val_loss": [5000.0, 4000.0, 3000.0]}, lr=1e-4)
    trainer(control, max_epochs=3, num_sanity_val_steps=2).fit(module, data(40), data())
    restored = next(d for d in control.decisions if d.action == "restore")
    assert restored.snapshot_check == -1
    assert torch.equal(module.seen[restored.epoch + 1], module.seen[0])
