"""Beside an exploration: no best checkpoint of weights that went, no patience eaten, a finder respected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateFinder, ModelCheckpoint

from tests.helpers.versions import skip_if_new
from tests.run.test_lr_search import Regression, fit, lr_search

SHORT = {"limit_train_batches": 10, "max_epochs": 40}
"""400 steps in epochs of 10: the sweep of at most 50 spans several validations."""


class Sees(Callback):
    """The validation loss of each epoch, and whether the run explored when it was measured."""

    def __init__(self, controller: Any) -> None:
        self.controller = controller
        self.losses: list[float] = []
        self.exploring: list[bool] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.losses.append(float(trainer.callback_metrics["val_loss"]))
            self.exploring.append(self.controller._fit_run.lr_schedule.lr_search is not None)

    @property
    def explored(self) -> int:
        """How many validations fell into the exploration."""
        return sum(self.exploring)


class Lucky(Regression):
    """A validation in the midst of the sweep finds a loss that no other epoch reaches."""

    def on_validation_epoch_end(self) -> None:
        if self.current_epoch == 1:
            self.log("val_loss", torch.tensor(-1.0))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.current_epoch != 1:
            super().validation_step(batch, batch_idx)


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_the_best_checkpoint_is_of_weights_that_stayed(first: str, tmp_path: Path) -> None:
    controller = lr_search()
    sees = Sees(controller)
    saving = ModelCheckpoint(tmp_path, monitor="val_loss", filename="{epoch}", save_last=True)
    callbacks = [controller, saving] if first == "ours" else [saving, controller]
    fit(Lucky(0.01), *callbacks, sees, enable_checkpointing=True, **SHORT)
    assert sees.explored >= 2
    assert min(sees.losses) == -1.0
    kept = sees.losses[sees.explored :]
    assert float(saving.best_model_score) == pytest.approx(min(kept))
    assert Path(saving.best_model_path).name == f"epoch={sees.explored + kept.index(min(kept))}.ckpt"


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_the_exploration_eats_no_patience(first: str) -> None:
    """Of four validations within the sweep none counts; a patience of 1 would have ended the run there."""
    controller = lr_search(anneal=False)  # else an annealed end comes before the stop: test_early_stopping.py
    sees = Sees(controller)
    stopping = EarlyStopping("val_loss", patience=1, min_delta=100.0)  # nothing is ever better: it stops at the second
    callbacks = [controller, stopping] if first == "ours" else [stopping, controller]
    trainer = fit(Regression(0.01), *callbacks, sees, **SHORT)
    assert sees.explored >= 2
    assert stopping.stopped_epoch == trainer.current_epoch - 1 == sees.explored + 1
    assert float(stopping.best_score) == pytest.approx(sees.losses[sees.explored])


def test_a_finder_before_us_is_respected() -> None:
    """It sweeps by itself, in its own way; we begin with its rate and do not search again."""
    skip_if_new("LearningRateFinder")
    finder = LearningRateFinder(min_lr=1e-5, max_lr=1.0, num_training_steps=40, early_stop_threshold=None)
    controller, module = lr_search(), Regression(0.01)
    fit(module, finder, controller, max_epochs=4)
    found = finder.optimal_lr.suggestion()
    assert found != 0.01
    ours = module.rates[-4 * 40 :]  # the finder's own steps come before
    assert max(ours) == pytest.approx(found)  # after a warm-up of a few steps
    assert not [decision for decision in controller.decisions if decision.action == "explore"]
