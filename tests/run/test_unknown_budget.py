"""A run whose budget is unknown: a plateau begins its end, and there it is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from lightning_lr import LearningRateController
from lightning_lr.engine.policies import ConservativePolicy
from lightning_lr.offline.logs.journal_reader import read_journal
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import Endless, Scripted, data, trainer
from tests.helpers.versions import ANY_CHECKPOINT

BATCHES = 4
#        0    1    2    3 … 12: a plateau is probable enough
LOSSES = [1.0, 0.9, 0.8, *[0.7] * 10, *(0.69 - 0.01 * epoch for epoch in range(14))]
BEGINS = 12
LASTS = 13
"""Epochs of the end: as many as before it."""


def ours(**arguments: Any) -> LearningRateController:
    return LearningRateController("val_loss", **{"find_lr": False, "verbose": False, **arguments})


def run(
    controller: LearningRateController,
    *callbacks: Any,
    module: Scripted | None = None,
    train: Any = None,
    checkpoint: Path | None = None,
    folder: Path | None = None,
    **options: Any,
) -> tuple[Scripted, Any]:
    module = module or Scripted({"val_loss": LOSSES})
    made = trainer(
        [controller, *callbacks, Limit()], folder, **{"max_epochs": -1, "num_sanity_val_steps": 0, **options}
    )
    made.fit(
        module,
        data(BATCHES) if train is None else train,
        data(1),
        ckpt_path=checkpoint,
        **(ANY_CHECKPOINT if checkpoint else {}),
    )
    return module, made


class Limit(Callback):
    """Ends a run that nobody else has ended."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.should_stop = trainer.should_stop or trainer.current_epoch >= 29


def actions(controller: LearningRateController) -> list[tuple[int, str]]:
    return [(decision.epoch, str(decision.action)) for decision in controller.decisions]


ENDED = [(BEGINS, "anneal"), (BEGINS + LASTS, "stop")]


def test_the_rate_falls_to_zero_from_a_plateau_on_and_the_run_is_over(tmp_path: Path) -> None:
    controller, summary = ours(), {}

    class Facts(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            summary.update(controller._fit_run.summary)

    module, made = run(controller, Facts(), folder=tmp_path)
    assert "hold until a plateau, then linear to zero over as many steps again; there the run ends" in summary.values()
    assert actions(controller) == ENDED
    assert made.current_epoch == BEGINS + LASTS + 1
    before = (BEGINS + 1) * BATCHES
    assert module.used[:before] == pytest.approx([0.1] * before)
    assert module.used[before:] == pytest.approx([0.1 * left / before for left in range(before, 0, -1)])
    assert (
        "→ anneal: from here on the learning rate falls linearly to zero at step 104" in controller.decisions[0].reason
    )
    assert controller.decisions[1].reason == (
        "the end that began at check 12 is over, val_loss ends at 0.57 (best 0.57) → stop"
    )
    (journal,) = tmp_path.rglob("*.jsonl")
    readings = [line.reading for line in read_journal(journal).lines]
    assert [reading.planned_end_step for reading in readings[11:15]] == [96, 104, None, None]
    assert [reading.budget for reading in readings[11:15]] == [None, None, 104, 104]


def test_a_run_that_ends_clearly_worse_ends_at_its_best() -> None:
    """The weights of the check with the best value are back when the fit is over."""
    kept: dict[int, torch.Tensor] = {}

    class Weights(Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            kept[pl_module.validations] = pl_module.layer.weight.detach().clone()

    controller = ours()
    module, _ = run(controller, Weights(), module=Scripted({"val_loss": [*LOSSES[: BEGINS + LASTS], 0.9]}))
    assert actions(controller) == ENDED
    assert controller.decisions[-1].condition == "overfitting"
    assert torch.equal(module.layer.weight, kept[BEGINS + LASTS])


OTHERWISE = {
    "anneal=False": ({"anneal": False}, {}, (BEGINS, "restore")),
    "a dry run changes nothing": ({"dry_run": True}, {}, (BEGINS, "anneal")),
    "conservative": ({"policy": ConservativePolicy(min_probability=0.85)}, {}, (BEGINS, "reduce")),
    "a known budget": ({}, {"max_epochs": 30}, (BEGINS, "restore")),
    "not before min_epochs": ({}, {"min_epochs": 14}, (BEGINS, "restore")),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_where_a_plateau_does_not_begin_the_end(case: str) -> None:
    arguments, options, first = OTHERWISE[case]
    controller = ours(**arguments)
    run(controller, **options)
    assert actions(controller)[0] == first


def test_early_stopping_says_when_where_there_is_one() -> None:
    """Its patience is the user's word on how long to wait: until then a plateau restores and cuts."""
    controller = ours()
    run(controller, EarlyStopping("val_loss", patience=20))
    assert actions(controller)[0] == (BEGINS, "restore")


def test_data_without_a_length() -> None:
    """The Trainer counts epochs: once the first is over it is known how many steps they are, and no plateau ends it."""
    controller = ours(restore_best=False, anneal=True)
    stream = torch.utils.data.DataLoader(Endless(), batch_size=None)
    module, made = run(controller, train=stream, max_epochs=30)
    (annealed,) = [decision for decision in controller.decisions if decision.action == "anneal"]
    assert annealed.epoch == 21
    assert made.current_epoch == 30
    assert module.used[-1] <= 0.01 * module.used[0]


def test_resumed_in_the_end(tmp_path: Path) -> None:
    def saving() -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)

    one, two = ours(), ours()
    whole, _ = run(one, saving(), enable_checkpointing=True)
    module = Scripted({"val_loss": LOSSES})
    module.validations = BEGINS + 3
    checkpoint = tmp_path / f"epoch={BEGINS + 2}.ckpt"
    resumed, made = run(two, saving(), module=module, checkpoint=checkpoint, enable_checkpointing=True)
    assert resumed.used == whole.used[(BEGINS + 3) * BATCHES :]
    assert list(map(str, two.decisions)) == list(map(str, one.decisions))
    assert made.current_epoch == BEGINS + LASTS + 1
    for parameter, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(parameter, other)


class Apart(Scripted):
    """Each rank logs a value of its own, which is not that of the run."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        apart = (-1) ** self.global_rank * 0.25
        self.log("val_loss", LOSSES[min(self.validations, len(LOSSES) - 1)] + apart)


@pytest.mark.ranks
@pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist")
def test_two_ranks_end_together() -> None:
    def on_rank(rank: int) -> tuple[int, list[float], list[str]]:
        controller = ours()
        module, made = run(controller, module=Apart(), strategy="ddp", devices=2)
        return made.current_epoch, module.used, list(map(str, controller.decisions))

    first, second = run_on_ranks(on_rank, 2, timeout=60)
    assert first == second
    assert len(first[2]) == 2
    assert first[1][-1] < 0.02
