"""What a check costs on the wire: counted by the process group itself, beside the same run without the controller."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy

from lightning_lr import LearningRateController
from lightning_lr.engine.lr_search.finder import MOST
from lightning_lr.run.lr_search.loss_watch import EACH
from tests.helpers.counting_group import COUNTER, NAME, Sent, register
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import QUIET
from tests.helpers.strategy_runs import STEPS, Model, Task

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist"),
]

EPOCHS = 14
A_CHECK = (8 * (3 * 1 + 99), 8 * (3 * 1 + 99 + 6))
"""Bytes: three numbers for the monitor, 99 for the window of losses; the broadcast has six more (decision, budget)."""
ONCE = {("allgather", 8): 2}
"""No monitor is given and no sanity check runs: at the first check the ranks agree on `val_loss`, length and name."""


class Phases(Callback):
    """Tells the counter what goes on; a step lasts from the start of a batch to its end, hooks of ours included."""

    def on_train_batch_start(self, *_: Any) -> None:
        COUNTER.phase = "step"

    def on_validation_start(self, *_: Any) -> None:
        COUNTER.phase = "check"

    def on_train_epoch_start(self, *_: Any) -> None:
        COUNTER.phase = "between"

    def on_train_end(self, *_: Any) -> None:
        COUNTER.phase = "end"


class Large(Model):
    """As many parameter groups as layers, and a quarter of a million weights more."""

    def __init__(self, task: Task, world_size: int) -> None:
        super().__init__(task, world_size)
        self.more = torch.nn.ModuleList(torch.nn.Linear(64, 64).double() for _ in range(64))

    def configure_optimizers(self) -> Any:
        groups = [{"params": layer.parameters()} for layer in self.more]
        return torch.optim.SGD([{"params": self.net.parameters()}, *groups], lr=0.01)


def sent_by(model: type[LightningModule], size: int, folder: Path, controller: Any) -> list[Sent]:
    """Everything that a run sent, on rank 0."""

    def run(rank: int) -> list[Sent]:
        register()
        COUNTER.phase, COUNTER.sent = "set-up", []
        strategy = DDPStrategy(process_group_backend=NAME, find_unused_parameters=True)
        options = {**QUIET, "devices": size, "strategy": strategy, "max_epochs": EPOCHS, "num_sanity_val_steps": 0}
        callbacks = [Phases(), *([controller()] if controller else [])]
        trainer = Trainer(callbacks=callbacks, use_distributed_sampler=False, default_root_dir=folder, **options)
        trainer.fit(model(Task([1.0 - 0.05 * epoch for epoch in range(EPOCHS)]), size))
        return COUNTER.sent

    return run_on_ranks(run, size, timeout=280, init=False)[0]


def plain() -> Any:
    return LearningRateController(find_lr=False, verbose=False)


def exploring() -> Any:
    return LearningRateController(find_lr=True, verbose=False)


def more(with_it: list[Sent], without: list[Sent], phases: tuple[str, ...]) -> Counter[tuple[str, int]]:
    """Operation and size → how many more there were while these phases lasted."""
    ours, theirs = (
        Counter((sent.operation, sent.size) for sent in all_sent if sent.during in phases)
        for all_sent in (with_it, without)
    )
    assert not theirs - ours
    return ours - theirs


@pytest.mark.parametrize(
    ("size", "model"),
    [
        (2, Model),
        pytest.param(2, Large, marks=pytest.mark.cluster),
        pytest.param(4, Model, marks=pytest.mark.cluster),
    ],
)
def test_one_all_reduce_and_one_broadcast_a_check(size: int, model: type[LightningModule], tmp_path: Path) -> None:
    """And none a step; the same bytes for a large model with many groups, and for more ranks."""
    without, watched = (sent_by(model, size, tmp_path / str(i), make) for i, make in enumerate((None, plain)))
    assert more(watched, without, ("step",)) == {}
    a_check = more(watched, without, ("check", "train_only"))
    assert a_check == {("allreduce", A_CHECK[0]): EPOCHS, ("broadcast", A_CHECK[1]): EPOCHS, **ONCE}
    # The budget, whether a snapshot fits on each host, and the readings of all ranks at the end.
    assert sum(more(watched, without, ("set-up", "end")).values()) <= 3


@pytest.mark.cluster
def test_a_search_costs_one_small_message_a_reading(tmp_path: Path) -> None:
    """Then one number at each of the first steps, until a validation confirms the rate."""
    without, watched = (sent_by(Model, 2, tmp_path / str(i), make) for i, make in enumerate((plain, exploring)))
    sent = more(watched, without, ("step",))
    # No sanity check has measured the monitor before training, so the search does: length and value of each rank.
    once = [sent.pop(key) for key in list(sent) if key[0] == "allgather"]
    assert once == [1, 1]
    assert {operation for operation, _ in sent} == {"allreduce"}
    looks = sent.pop(("allreduce", 8))
    assert looks == STEPS - 1 < EACH
    assert max(size for _, size in sent) <= 72
    assert 4 <= sum(sent.values()) <= MOST + 2
