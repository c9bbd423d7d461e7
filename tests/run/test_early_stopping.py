"""EarlyStopping beside the controller: the run that it ends is annealed first, and its patience is not eaten by us."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from lightning_lr import LearningRateController
from lightning_lr.engine.policies import AutoPolicy
from tests.helpers import recorded
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import Scripted, data, trainer
from tests.helpers.versions import ANY_CHECKPOINT

BATCHES = 4
#        0    1    2    3    4    5: nothing is better for two epochs, so EarlyStopping(patience=2) stops after 5
FLAT = [1.0, 0.9, 0.8, 0.7, 0.7, 0.7]
STOPS = 5
ANNEALED = 3
"""Epochs of the end: half of those before it, 6."""


def ours(**arguments: Any) -> LearningRateController:
    """Plateaus wait for longer than these runs last."""
    return LearningRateController("val_loss", **{"find_lr": False, "patience": 50, "verbose": False, **arguments})


def run(
    losses: list[float],
    controller: LearningRateController,
    *callbacks: Any,
    stopping: EarlyStopping | None = None,
    first: str = "ours",
    module: Any = None,
    checkpoint: Path | None = None,
    **options: Any,
) -> tuple[Scripted, EarlyStopping, Any]:
    module = module or Scripted({"val_loss": losses})
    stopping = stopping or EarlyStopping("val_loss", patience=2)
    both = [controller, stopping] if first == "ours" else [stopping, controller]
    made = trainer([*both, *callbacks], **{"max_epochs": 40, "num_sanity_val_steps": 0, **options})
    made.fit(module, data(BATCHES), data(1), ckpt_path=checkpoint, **(ANY_CHECKPOINT if checkpoint else {}))
    return module, stopping, made


def actions(controller: LearningRateController) -> list[tuple[int, str]]:
    return [(decision.epoch, str(decision.action)) for decision in controller.decisions]


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_the_run_that_it_ends_is_annealed(first: str) -> None:
    controller = ours()
    module, stopping, made = run(FLAT, controller, first=first)
    assert actions(controller) == [(STOPS, "anneal")]
    assert controller.decisions[0].reason == (
        "anneal: EarlyStopping has run out of patience: from here on the learning rate falls linearly to zero at "
        "step 36, and there the run ends"
    )
    assert made.current_epoch == STOPS + 1 + ANNEALED
    assert stopping.stopped_epoch == STOPS + ANNEALED
    held, end = module.used[4 : (STOPS + 1) * BATCHES], module.used[(STOPS + 1) * BATCHES :]  # a warm-up comes first
    assert held == pytest.approx([0.1] * len(held))
    assert end == pytest.approx([0.1 * left / len(end) for left in range(len(end), 0, -1)])
    assert not {"on_train_epoch_end", "on_validation_end"} & vars(stopping).keys()


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_in_the_midst_of_an_epoch(first: str) -> None:
    """Two validations an epoch: EarlyStopping looks where the callbacks' order decides who comes first."""
    controller = ours()
    module, _, made = run(FLAT, controller, first=first, val_check_interval=2)
    assert len(module.used) == made.global_step == (STOPS + 1) * 2 + ANNEALED * 2
    assert module.used[-1] == pytest.approx(0.1 / 6)


def test_a_budget_that_is_unknown_has_an_end_too() -> None:
    controller, summary = ours(), {}

    class Facts(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            summary.update(controller._fit_run.summary)

    module, _, made = run(FLAT, controller, Facts(), max_epochs=-1)
    assert "hold, then linear to zero once EarlyStopping has run out of patience" in summary.values()
    assert made.current_epoch == STOPS + 1 + ANNEALED
    assert module.used[-1] == pytest.approx(0.1 / (ANNEALED * BATCHES))


def test_an_end_that_has_begun_is_bent() -> None:
    """The end of 8 epochs: the rate is falling already, and falls on from where it is."""
    module, _, made = run(FLAT, ours(anneal=True), max_epochs=8)
    assert made.current_epoch == 8
    assert module.used[24:] == pytest.approx([module.used[23] * (8 - at) / 9 for at in range(8)], rel=0.1)


OTHERWISE = {
    "no number": ([1.0, 0.9, 0.8, math.nan], {}, {"patience": 9}, {}, 4),
    "threshold": ([1.0, 0.9, 0.8, 0.5], {}, {"patience": 9, "stopping_threshold": 0.6}, {}, 4),
    "anneal=False": (FLAT, {"anneal": False}, {}, {}, STOPS + 1),
    "dry run": (FLAT, {"dry_run": True}, {}, {}, STOPS + 1),
    "conservative": (FLAT, {"policy": "conservative"}, {}, {}, STOPS + 1),
    "better in the end": ([*FLAT, 0.6], {}, {}, {}, STOPS + 1 + ANNEALED),
    "a threshold in the end": ([*FLAT, 0.7, 0.5], {}, {"stopping_threshold": 0.6}, {}, STOPS + 3),
    "not before min_epochs": (FLAT, {}, {}, {"min_epochs": 9}, 9 + 5),
}
"""Name → losses, arguments of ours, of EarlyStopping, of the Trainer, and epochs that the run has."""


@pytest.mark.parametrize("case", OTHERWISE)
def test_when_it_ends(case: str) -> None:
    losses, arguments, patience, options, epochs = OTHERWISE[case]
    stopping = EarlyStopping("val_loss", **{"patience": 2, **patience})
    _, _, made = run(losses, ours(**arguments), stopping=stopping, **options)
    assert made.current_epoch == epochs


def test_two_controllers_both_anneal() -> None:
    """Each has an optimizer of its own; one that did not take part would be stopped at its full rate."""

    def two(module: Any) -> Any:
        return [torch.optim.SGD([part], lr=0.1) for part in module.layer.parameters()]

    stopping = EarlyStopping("val_score", patience=2)
    both = [
        LearningRateController("val_score", name=name, param_groups=[at], patience=50, verbose=False)
        for at, name in enumerate("ab")
    ]
    recorder = recorded.run(recorded.SmallManual(two), [*both, stopping], max_epochs=40)
    assert [actions(controller) for controller in both] == [[(2, "anneal")]] * 2
    last = [rates[0] for rates in recorder.used[-2:]]
    assert last == pytest.approx([0.1 / 6] * 2)  # the end of 2 epochs of 3 batches
    assert not {"on_train_epoch_end", "on_validation_end"} & vars(stopping).keys()


def test_a_schedule_of_the_users_own_ends_as_it_did() -> None:
    class Scheduled(Scripted):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.999)]

    _, _, made = run(FLAT, ours(), module=Scheduled({"val_loss": FLAT}))
    assert made.current_epoch == STOPS + 1


def test_patience_begins_anew_where_a_state_was_restored() -> None:
    """A plateau is answered at epoch 10 by a restore; without it EarlyStopping would have ended the run at 11."""
    controller = ours(patience=2, anneal=False, policy=AutoPolicy(min_probability=0.6))
    stopping = EarlyStopping("val_loss", patience=8)
    _, stopping, made = run([*FLAT, *[0.7] * 6, 0.6, 0.5], controller, stopping=stopping, max_epochs=14)
    assert actions(controller) == [(10, "restore")]
    assert made.current_epoch == 14
    assert stopping.stopped_epoch == 0


def test_resumed_in_the_end(tmp_path: Path) -> None:
    def saving() -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)

    whole, _, _ = run(FLAT, ours(), saving(), enable_checkpointing=True)
    checkpoint = tmp_path / f"epoch={STOPS + 1}.ckpt"
    module = Scripted({"val_loss": FLAT})
    module.validations = STOPS + 2
    resumed, _, made = run(FLAT, ours(), saving(), module=module, checkpoint=checkpoint, enable_checkpointing=True)
    assert resumed.used == whole.used[(STOPS + 2) * BATCHES :]
    assert made.current_epoch == STOPS + 1 + ANNEALED


class Apart(Scripted):
    """Only on rank 1 there is nothing better: EarlyStopping stops where any rank wants to."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        better = 0.0 if self.global_rank else 0.01 * self.validations
        self.log("val_loss", FLAT[min(self.validations, STOPS)] - better)


@pytest.mark.ranks
@pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist")
def test_two_ranks_end_together() -> None:
    def on_rank(rank: int) -> tuple[int, list[float], list[tuple[int, str]]]:
        controller = ours()
        module, _, made = run(FLAT, controller, module=Apart(), strategy="ddp", devices=2)
        return made.current_epoch, module.used, actions(controller)

    first, second = run_on_ranks(on_rank, 2, timeout=60)
    assert first == second
    assert first[2] == [(STOPS, "anneal")]
    assert first[1][-1] == pytest.approx(0.1 / len(first[1][(STOPS + 1) * 2 :]))
