"""What a user put on a module or a callback comes back after us, whatever order the patches end in."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from lightning_lr import LayerwiseLearningRate, LearningRateController
from lightning_lr.run.patches import patch
from lightning_lr.run.trainer.other_callbacks import pause_judging
from tests.helpers.scripted import Scripted, data, trainer
from tests.run.test_lr_search import Regression, fit, lr_search


def counting(plain: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    """As a compiled method stands on the object."""

    def counted(*args: Any) -> Any:
        calls.append(1)
        return plain(*args)

    return counted


# A whole fit


LONG = {"max_epochs": 15, "limit_val_batches": 1}
"""600 steps: a sweep of more than an epoch, and branches after it."""


class Sees(Callback):
    """At which steps the module's own ``training_step`` is ours."""

    def __init__(self, own: Any) -> None:
        self.own = own
        self.patched: list[int] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if vars(pl_module)["training_step"] is not self.own:
            self.patched.append(trainer.global_step)


def test_a_training_step_on_the_module() -> None:
    """The steps of a compiled step are compiled to the end, not only until the exploration is over."""
    module, calls = Regression(0.01), []
    module.training_step = own = counting(module.training_step, calls)
    sees = Sees(own)
    done = fit(module, lr_search(), sees, **LONG)
    assert 0 < len(sees.patched) < done.global_step / 2
    assert len(calls) == done.global_step
    assert vars(module)["training_step"] is own


class PatchedStep(Scripted):
    """A scheduler whose ``step`` stands on the object: its class cannot be exchanged."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        vars(scheduler)["step"] = scheduler.step
        return [optimizer], [scheduler]


def layerwise() -> LayerwiseLearningRate:
    return LayerwiseLearningRate(layers=["layer", "other"])


@pytest.mark.parametrize(
    "made",
    [
        lambda: [LearningRateController(verbose=False)],
        lambda: [LearningRateController(verbose=False, name=name) for name in "ab"],
        lambda: [layerwise(), LearningRateController(verbose=False)],
    ],
    ids=["controller", "two controllers", "layerwise"],
)
def test_a_scheduler_step_on_the_module(made: Callable[[], list[Callback]]) -> None:
    module, calls = PatchedStep(), []
    module.other = torch.nn.Linear(4, 1)
    module.lr_scheduler_step = own = counting(module.lr_scheduler_step, calls)
    trainer(made(), max_epochs=3).fit(module, data(2), data(1))
    assert len(calls) == 3
    assert vars(module)["lr_scheduler_step"] is own


@pytest.mark.parametrize("anneal", [True, False])
def test_a_hook_on_early_stopping(anneal: bool) -> None:
    """While a run explores it does not judge; afterwards it does, and at the end it is as it was."""
    stopping, calls = EarlyStopping("val_loss", patience=50), []
    stopping.on_train_epoch_end = own = counting(stopping.on_train_epoch_end, calls)  # type: ignore[method-assign]
    done = fit(Regression(0.01), lr_search(anneal=anneal), stopping, **LONG)
    assert 0 < len(calls) < done.current_epoch == LONG["max_epochs"]
    assert vars(stopping)["on_train_epoch_end"] is own
    assert "on_validation_end" not in vars(stopping)


def test_a_hook_on_a_checkpoint_callback(tmp_path: Any) -> None:
    saving, calls = ModelCheckpoint(tmp_path, monitor="val_loss"), []
    saving.on_validation_end = own = counting(saving.on_validation_end, calls)  # type: ignore[method-assign]
    done = fit(Regression(0.01), lr_search(), saving, enable_checkpointing=True, num_sanity_val_steps=0, **LONG)
    assert 0 < len(calls) < done.current_epoch
    assert vars(saving)["on_validation_end"] is own
    assert "on_train_epoch_end" not in vars(saving)


class PatchesLater(Callback):
    """Another callback that wraps what it finds, in the midst of the exploration."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.put: Any = None
        self.since = 0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if "training_step" in vars(pl_module) and self.put is None:
            self.since = trainer.global_step
            pl_module.training_step = self.put = counting(pl_module.training_step, self.calls)


def test_a_later_patch_stays_and_reaches_the_plain_step() -> None:
    module, later, plain = Regression(0.01), PatchesLater(), []
    module.loss = counting(module.loss, plain)
    done = fit(module, lr_search(), later, **{**LONG, "limit_val_batches": 0})
    assert vars(module)["training_step"] is later.put
    assert len(later.calls) == done.global_step - later.since
    assert len(plain) == done.global_step


# Several patches on one object


class Net:
    def step(self) -> str:
        return "plain"


def put(net: Net, text: str) -> ExitStack:
    former, undo = net.step, ExitStack()
    patch(net, "step", lambda: f"{text} {former()}", undo)
    return undo


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("order", ["in reverse", "as they came"])
def test_two_of_ours(own: bool, order: str) -> None:
    net = Net()
    if own:
        net.step = mine = lambda: "mine"  # type: ignore[method-assign]
    first, second = put(net, "first"), put(net, "second")
    assert net.step() == ("second first mine" if own else "second first plain")
    (second if order == "in reverse" else first).close()
    (first if order == "in reverse" else second).close()
    assert vars(net) == ({"step": mine} if own else {})


@pytest.mark.parametrize("theirs", ["over", "instead"])
def test_a_foreign_one_on_top_is_left_alone(theirs: str) -> None:
    net = Net()
    undo = put(net, "ours")
    former = net.step
    net.step = foreign = lambda: f"theirs {former() if theirs == 'over' else ''}"  # type: ignore[method-assign]
    undo.close()
    assert vars(net) == {"step": foreign}
    assert net.step() == ("theirs plain" if theirs == "over" else "theirs ")


def test_a_foreign_one_between_two_of_ours() -> None:
    net = Net()
    first = put(net, "first")
    former = net.step
    net.step = foreign = lambda: f"theirs {former()}"  # type: ignore[method-assign]
    second = put(net, "second")
    first.close()
    assert net.step() == "second theirs plain"
    second.close()
    assert vars(net) == {"step": foreign}


def test_a_suspended_callback_can_be_copied(tmp_path: Any) -> None:
    """A copy is made of a callback in the midst of a fit, by whoever spawns processes or keeps a trainer's state."""
    saving = ModelCheckpoint(tmp_path, monitor="val_loss")
    resume = pause_judging([saving], ExitStack())
    assert pickle.loads(pickle.dumps(saving)).monitor == "val_loss"
    assert copy.deepcopy(saving).monitor == "val_loss"
    resume()
    assert not {"on_train_batch_end", "on_train_epoch_end", "on_validation_end"} & vars(saving).keys()
