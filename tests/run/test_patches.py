"""What a user put on a module or a callback comes back after us, whatever order the patches end in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping

from lightning_lr import LayerwiseLearningRate, LearningRateController
from lightning_lr.run.patches import patch
from tests.helpers.scripted import Scripted, data, trainer
from tests.run.test_lr_search import Regression, fit, lr_search


def counting(plain: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    """As a compiled method stands on the object."""

    def counted(*args: Any) -> Any:
        calls.append(1)
        return plain(*args)

    return counted


# A whole fit


def test_a_step_on_the_module() -> None:
    """As a compiled one stands there: it stays where it is, and even what it has counted is as without a search."""
    module, calls = Regression(0.01), []
    module.training_step = own = counting(module.training_step, calls)  # type: ignore[method-assign]
    done = fit(module, lr_search())
    assert vars(module)["training_step"] is own
    assert len(calls) == done.global_step


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


def test_a_hook_on_early_stopping() -> None:
    """It is called at each epoch, and at the end it is as it was."""
    stopping, calls = EarlyStopping("val_loss", patience=50), []
    stopping.on_train_epoch_end = own = counting(stopping.on_train_epoch_end, calls)  # type: ignore[method-assign]
    done = fit(Regression(0.01), lr_search(), stopping)
    assert len(calls) == done.current_epoch
    assert vars(stopping)["on_train_epoch_end"] is own
    assert "on_validation_end" not in vars(stopping)


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
