"""A run that is resumed with other batches, ranks, epochs, data or options goes on without a jump, to its new end.

The class: the budget is the steps that were taken and what is left of the epochs, each as long as an epoch is *now*.
Each cell of the table (what changes × when the checkpoint was written) is run, and the rate of every step is compared
with the expected one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, IterableDataset

from lightning_lr import LearningRateController
from lightning_lr.engine.schedule import ANNEAL_SHARE
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import Scripted, data, trainer
from tests.helpers.versions import ANY_CHECKPOINT

RATE = 0.1
EPOCHS, BATCHES = 20, 12


@dataclass(frozen=True)
class Setup:
    """How a part of a run is trained."""

    batches: int = BATCHES
    epochs: int = EPOCHS
    accumulate: int = 1
    ranks: int = 1
    arguments: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    length: bool = True

    def loader(self) -> DataLoader:
        return data(self.batches) if self.length else DataLoader(Stream(self.batches), batch_size=4)

    def steps_of(self, batches: int) -> int:
        """Optimizer steps of so many batches at the end of an epoch."""
        each = -(-batches // self.ranks) if self.length else batches
        return -(-each // self.accumulate)


class Stream(IterableDataset):
    """So many batches, which the Trainer cannot count."""

    def __init__(self, batches: int) -> None:
        self.rows = batches * 4

    def __iter__(self) -> Any:
        return iter(torch.linspace(-1, 1, self.rows * 4).sin().reshape(-1, 4))


class Falls(Scripted):
    """Its validation loss falls from epoch to epoch, so nothing is decided."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", 2.0 / (1 + self.current_epoch))


class Save(Callback):
    """Writes one checkpoint and stops the run: at the end of an epoch, of its validation, or after some batch of it."""

    def __init__(self, path: Path, where: str, epoch: int) -> None:
        self.path, self.where, self.epoch = path, where, epoch

    def _save(self, trainer: Any, where: str) -> None:
        if where == self.where and trainer.current_epoch == self.epoch and not trainer.should_stop:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 3:
            self._save(trainer, "batch")

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        self._save(trainer, "validation")

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self._save(trainer, "epoch")


def train(setup: Setup, *callbacks: Any, checkpoint: Path | None = None) -> list[float]:
    """The rate of each optimizer step."""
    control = LearningRateController(
        **{"find_lr": False, "anneal": True, "restore_best": False, "verbose": False, **setup.arguments}
    )
    options: dict[str, Any] = {
        "max_epochs": setup.epochs,
        "accumulate_grad_batches": setup.accumulate,
        "num_sanity_val_steps": 0,
        **({"strategy": "ddp", "devices": setup.ranks} if setup.ranks > 1 else {}),
        **setup.options,
    }
    module, made = Falls(lr=RATE), trainer([control, *callbacks], **options)
    loads = {"ckpt_path": checkpoint, **ANY_CHECKPOINT} if checkpoint else {}
    made.fit(module, setup.loader(), data(2), **loads)
    return module.used


def run(setup: Setup, *callbacks: Any, checkpoint: Path | None = None) -> list[float]:
    if setup.ranks == 1:
        return train(setup, *callbacks, checkpoint=checkpoint)
    rates = run_on_ranks(lambda rank: train(setup, *callbacks, checkpoint=checkpoint), setup.ranks)
    assert all(other == rates[0] for other in rates)
    return rates[0]


# --- what is expected -------------------------------------------------------------------------------------------------


def level(step: float, budget: float) -> float:
    """The multiple of the rate at a step of a run that always had this budget."""
    falls = budget - ANNEAL_SHARE * budget
    return min(1.0, (budget - step) / (budget - falls) if step > falls else 1.0)


def expected(taken: int, before: int, now: int | None) -> list[float]:
    """After a resume at step ``taken`` of ``before``, now that the run has ``now`` steps; ``None``: held for ever."""
    held = level(taken, before)
    if now is None:
        return [held]
    both_hold = taken < (1 - ANNEAL_SHARE) * min(before, now)
    if both_hold:
        return [level(step, now) for step in range(taken, now)]
    return [held * (now - step) / (now - taken) for step in range(taken, now)]


# --- the table --------------------------------------------------------------------------------------------------------

BASE = Setup()
CHANGES = {
    "nothing": (BASE, BASE),
    "a batch twice as large": (BASE, Setup(batches=BATCHES // 2)),
    "a batch half as large": (BASE, Setup(batches=2 * BATCHES)),
    "accumulated": (BASE, Setup(accumulate=2)),
    "no longer accumulated": (Setup(accumulate=3), BASE),
    "more epochs": (BASE, Setup(epochs=EPOCHS + 7)),
    "fewer epochs": (BASE, Setup(epochs=EPOCHS - 2)),
    "more data": (BASE, Setup(batches=BATCHES + 5)),
    "less data": (BASE, Setup(batches=BATCHES // 3)),
    "a limit in steps": (BASE, Setup(options={"max_steps": 215})),
    "two ranks": (BASE, Setup(ranks=2)),
    "one rank": (Setup(ranks=2), BASE),
    "two ranks, accumulated": (BASE, Setup(ranks=2, accumulate=2)),
    "a policy that does not anneal": (BASE, Setup(arguments={"policy": "conservative", "anneal": "auto"})),
    "no annealing": (BASE, Setup(arguments={"anneal": False})),
    "a dry run": (BASE, Setup(arguments={"dry_run": True, "anneal": "auto"})),
    "no snapshots": (BASE, Setup(arguments={"snapshots": False, "restore_best": None})),
}
WHENS = [("epoch", 4), ("batch", 4), ("validation", 4), ("epoch", 13), ("batch", 13), ("validation", 13), ("epoch", 16)]


def cells() -> list[Any]:
    """Each change at each moment; of the whole table the first moment while the rate is held, and the last."""
    marks: dict[str, list[Any]] = {
        name: [pytest.mark.ranks] for name, pair in CHANGES.items() if max(one.ranks for one in pair) > 1
    }
    return [
        pytest.param(
            name,
            *when,
            id=f"{name} - {when[0]} {when[1]}",
            marks=[*marks.get(name, ()), *([] if when in (WHENS[0], WHENS[-1]) else [pytest.mark.resume])],
        )
        for name, when in itertools.product(CHANGES, WHENS)
    ]


def steps_before(setup: Setup, where: str, epoch: int) -> int:
    whole = setup.steps_of(setup.batches)
    return epoch * whole + (4 // setup.accumulate if where == "batch" else whole)


def left_after(former: Setup, setup: Setup, where: str, epoch: int) -> int:
    """Optimizer steps that Lightning takes after the resume: of an epoch whose midst was saved, what its batches leave.

    It goes on at the batch at which it was; an epoch that has fewer batches by now is begun anew, or over.
    """
    batches = -(-setup.batches // setup.ranks)
    whole = setup.steps_of(setup.batches)
    done = {"batch": 4, "validation": -(-former.batches // former.ranks), "epoch": 0}[where]
    later = setup.epochs - epoch - 1
    if where == "epoch":
        return later * whole
    if where == "batch" and done >= batches:
        return (later + 1) * whole
    return later * whole + (whole - done // setup.accumulate if done < batches else 0)


@pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist", "ignore:.*not resumable")
@pytest.mark.parametrize(("change", "where", "epoch"), cells())
def test_the_rate_goes_on_to_the_new_end(change: str, where: str, epoch: int, tmp_path: Path) -> None:
    former, setup = CHANGES[change]
    path = tmp_path / "half.ckpt"
    first = run(former, Save(path, where, epoch))
    taken, before = steps_before(former, where, epoch), former.epochs * former.steps_of(former.batches)
    assert len(first) == taken
    assert first == pytest.approx([RATE * level(step, before) for step in range(taken)])

    rates = run(setup, checkpoint=path)

    now = taken + left_after(former, setup, where, epoch)
    now = min(now, setup.options.get("max_steps", now))
    assert len(rates) == now - taken
    anneals = setup.arguments.get("policy", "auto") == "auto" and setup.arguments.get("anneal", True)
    anneals = anneals and not setup.arguments.get("dry_run")
    wanted = expected(taken, before, now if anneals else None)
    wanted = wanted * len(rates) if len(wanted) == 1 else wanted
    assert rates == pytest.approx([RATE * one for one in wanted], rel=1e-6)
    # No jump beyond one step of the fall, and no rise once it falls.
    assert rates[0] <= first[-1] * (1 + 1e-9)
    assert all(a >= b * (1 - 1e-9) for a, b in itertools.pairwise(rates))


@pytest.mark.filterwarnings("ignore:.*not resumable")
@pytest.mark.parametrize(
    "setup",
    [
        Setup(length=False),
        Setup(length=False, batches=BATCHES // 2, options={}),
        Setup(length=False, accumulate=2),
        Setup(length=False, batches=2 * BATCHES),
    ],
    ids=["nothing", "half of the data", "accumulated", "twice the data"],
)
def test_data_without_a_length_tell_it_anew(setup: Setup, tmp_path: Path) -> None:
    """A member of the class that cannot be told at once: until an epoch is over the rate is held, and never rises."""
    path = tmp_path / "half.ckpt"
    first = run(Setup(length=False), Save(path, "epoch", 13))
    rates = run(setup, checkpoint=path)
    an_epoch = setup.steps_of(setup.batches)
    assert len(rates) == 6 * an_epoch
    assert all(a >= b for a, b in itertools.pairwise([first[-1], *rates]))
    assert rates[-1] <= 0.04 * RATE
    if setup.accumulate > 1:
        assert len({*rates[:an_epoch]}) == 1
