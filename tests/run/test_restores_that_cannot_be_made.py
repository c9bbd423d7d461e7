"""A restore that cannot be made never ends training: one warning, and the learning rate is cut without it.

The class: what a snapshot holds and what is there when it shall come back are no longer the same, or something has no
copy. On several ranks all do the same: one that restored alone would train other weights from then on.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelPruning
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lightning_lr import LearningRateController
from lightning_lr.engine.policies import Policy, Response
from lightning_lr.errors import UnsupportedError
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import Scripted, data, trainer

RESTORES = Policy("restores", {"non_finite": Response("restore", 0.5)})
LOSSES = [1.0, 0.9, 0.8, 0.7, 0.8, 0.6, 0.5, 0.6]
LOST = (4, 7)
"""Epochs whose losses are no numbers, though the weights stay sound."""


def controller(**options: Any) -> LearningRateController:
    given: dict[str, Any] = {"policy": RESTORES, "find_lr": False, "anneal": False, "verbose": False, **options}
    return LearningRateController(**given)


class Net(Scripted):
    def __init__(self) -> None:
        super().__init__({"val_loss": LOSSES})

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) + (math.nan if self.current_epoch in LOST else 0.0)


class GrowingBuffer(Net):
    """A memory bank, the cache of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bank", torch.zeros(1, 4))

    def on_train_epoch_start(self) -> None:
        self.bank = torch.cat([self.bank, self.bank[:1]])


class BufferOfAnotherType(Net):
    def on_train_epoch_start(self) -> None:
        self.register_buffer("mask", torch.zeros(2, dtype=torch.int32 if self.current_epoch % 2 else torch.int64))


class LayerAdded(Net):
    """Progressive growing: another layer each epoch."""

    def on_train_epoch_start(self) -> None:
        self.add_module(f"layer_{self.current_epoch}", nn.Linear(2, 2))


class Reparametrized(Net):
    """Weight norm, spectral norm: names of the weights change in mid-run."""

    def on_train_epoch_start(self) -> None:
        if self.current_epoch % 2:
            parametrize.register_parametrization(self.layer, "weight", nn.Identity())
        elif self.current_epoch:
            parametrize.remove_parametrizations(self.layer, "weight")


class OptimizerExchanged(Net):
    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 4:
            self.trainer.strategy.optimizers = [torch.optim.SGD([self.layer.weight], lr=0.1)]


class FrozenWeightsChanged(Net):
    """Weights without a gradient have no copy, and are exchanged under way."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(3, 3).requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        if self.current_epoch in LOST:
            self.base.weight.data.add_(1)


class Projector:
    """As GaLore keeps one in the optimizer's state."""


class OwnState(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["projector"] = Projector()
        return loss


class OddState(Net):
    def configure_optimizers(self) -> Any:
        return OwnState(self.parameters(), lr=0.1)


class SparseState(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sparse", torch.eye(3).to_sparse())


class Lazy(Net):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(1)


class Prunes(ModelPruning):
    def __init__(self, module: Net) -> None:
        super().__init__(
            "l1_unstructured", [(module.layer, "weight")], amount=0.1, apply_pruning=lambda epoch: epoch == 3
        )


NEVER = [OddState, SparseState]
"""Of these there is no copy at any check."""
SOMETIMES = [GrowingBuffer, BufferOfAnotherType, LayerAdded, Reparametrized, OptimizerExchanged, FrozenWeightsChanged]


def run(module: Net, *callbacks: Callback, ours: LearningRateController | None = None, **options: Any) -> list[Any]:
    ours = ours or controller()
    trainer([ours, *callbacks], max_epochs=len(LOSSES), num_sanity_val_steps=0, **options).fit(module, data(), data(1))
    return ours.decisions


@pytest.mark.parametrize("cls", [*NEVER, *SOMETIMES])
def test_it_is_cut_without_restoring(cls: type[Net]) -> None:
    with pytest.warns(UserWarning, match="cannot be kept and restored") as said:
        decisions = run(cls())
    assert len([one for one in said if "cannot be kept" in str(one.message)]) == 1
    assert [(d.check, d.factor) for d in decisions] == [(4, 0.5), (7, 0.5)]


def test_pruning() -> None:
    module = Net()
    with pytest.warns(UserWarning, match="cannot be kept and restored"):
        decisions = run(module, Prunes(module))
    assert [(d.check, d.factor) for d in decisions] == [(4, 0.5), (7, 0.5)]


def test_lazy_modules_are_kept_once_they_have_run() -> None:
    with pytest.warns(UserWarning, match="cannot be kept and restored"):
        decisions = run(Lazy())
    assert [(d.check, str(d.action), d.snapshot_check) for d in decisions] == [(4, "restore", 3), (7, "restore", 6)]


def test_a_group_that_joins_later_is_no_reason() -> None:
    class Joins(Net):
        def on_train_start(self) -> None:  # comes after the callbacks' own
            self.more = nn.Linear(2, 2)
            self.optimizers().add_param_group({"params": self.more.parameters()})

    decisions = run(Joins())
    assert [(d.check, str(d.action)) for d in decisions] == [(4, "restore"), (7, "restore")]


@pytest.mark.parametrize("cls", [SparseState, Lazy])
def test_asked_for_by_name_it_is_an_error_before_training(cls: type[Net]) -> None:
    with pytest.raises(UnsupportedError):
        run(cls(), ours=controller(restore_best=True))


@pytest.mark.parametrize("cls", [OddState, GrowingBuffer])
def test_asked_for_by_name_it_does_not_end_a_run_that_trains(cls: type[Net]) -> None:
    with pytest.warns(UserWarning, match="cannot be kept and restored"):
        assert [d.factor for d in run(cls(), ours=controller(restore_best=True))] == [0.5, 0.5]


@pytest.mark.ranks
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:`broadcast_buffers` is deprecated:FutureWarning")
@pytest.mark.parametrize("cls", [GrowingBuffer, OddState])
@pytest.mark.parametrize("alone", [0, 1])
def test_what_one_rank_cannot_none_does(cls: type[Net], alone: int) -> None:
    """Where only one of two has a state that cannot come back, none restores: the weights stay the same on both."""

    def on_rank(rank: int) -> tuple[list[Any], list[float]]:
        torch.manual_seed(0)
        module = cls() if rank == alone else Net()
        decisions = run(module, strategy=DDPStrategy(process_group_backend="gloo", broadcast_buffers=False), devices=2)
        return [(d.check, d.factor) for d in decisions], module.layer.weight.flatten().tolist()

    one, other = run_on_ranks(on_rank, timeout=60)
    assert one == other
    assert one[0] == [(4, 0.5), (7, 0.5)]
