"""Pickles, deep copies and checkpoints name no class of this package's inside.

The class of fault: something of ours hangs on an object that others copy, save, or load with a list of allowed names.
"""

from __future__ import annotations

import copy
import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping

from lightning_lr import LayerwiseLearningRate, LearningRateController
from tests.helpers.scripted import Scripted, data, eager, trainer

FLAT = [1.0, 0.9, 0.8, *[0.8] * 20]


def named(pickled: bytes) -> set[str]:
    """The classes and functions of ours that must be imported to load it."""
    found, texts = set(), []
    for operation, argument, _ in pickletools.genops(pickled):
        if isinstance(argument, str):
            texts.append(argument)
        if operation.name == "GLOBAL":
            found.add(argument.replace(" ", "."))
        elif operation.name == "STACK_GLOBAL":
            found.add(".".join(texts[-2:]))
    return {name for name in found if name.startswith("lightning_lr")}


def saved(thing: Any) -> bytes:
    file = io.BytesIO()
    torch.save(thing, file)
    return file.getvalue()


def inside(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return opened.read(next(name for name in opened.namelist() if name.endswith("data.pkl")))


def test_the_class_that_is_looked_for_would_be_found():
    assert named(pickle.dumps(eager().options.settings.mode)) == {"lightning_lr.engine.vocabulary.Mode"}


CALLBACKS = [
    pytest.param(LearningRateController, {"patience": 3}, id="controller"),
    pytest.param(LearningRateController, {"monitor": ["a", "b"], "min_lr": [0.1, 0.2], "journal": "f"}, id="lists"),
    pytest.param(LayerwiseLearningRate, {"every_n_steps": 3}, id="layerwise"),
]


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(("made", "arguments"), CALLBACKS)
def test_a_callback_is_its_class_and_plain_values(made, arguments, used):
    """A loader with an allow-list needs the one name that the user has written."""
    control = made(**arguments)
    if used:
        arguments = {"monitor": "val_loss", "policy": "halving"} if made is LearningRateController else arguments
        control = made(**arguments)
        module = Scripted()
        module.more = torch.nn.Linear(4, 4)
        module.training_step = lambda batch, batch_idx: module.layer(module.more(batch[0])).pow(2).mean()
        trainer(control, max_epochs=3).fit(module, data(), data())
    assert named(pickle.dumps(control)) == {f"{made.__module__}.{made.__qualname__}"}
    with torch.serialization.safe_globals([made]):
        loaded = torch.load(io.BytesIO(saved({"callbacks": [control]})), weights_only=True)["callbacks"][0]
    assert repr(loaded) == repr(control)
    assert loaded.state_dict() == control.state_dict()


class Named(LearningRateController):
    """A user's own."""

    def __init__(self, note: str) -> None:
        super().__init__(patience=4, verbose=False)
        self.note = note


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))], ids=["copy", "pickle"])
def test_a_subclass_keeps_what_it_has_of_its_own(copied):
    one = Named("mine")
    one.added = [1, 2]
    twin = copied(one)
    assert (twin.note, twin.added, twin.options.settings) == ("mine", [1, 2], one.options.settings)
    trainer(twin, max_epochs=1).fit(Scripted(), data(), data())
    assert one.state_dict() == {}


def test_a_checkpoint_needs_nothing_of_ours(tmp_path: Path):
    """Decisions, snapshot and all: plain values and tensors."""
    control = LearningRateController(patience=1, find_lr=False)
    fit = trainer(control, max_epochs=16)
    fit.fit(Scripted({"val_loss": FLAT}), data(), data())
    assert any(decision.action == "restore" for decision in control.decisions)
    fit.save_checkpoint(tmp_path / "c.ckpt")
    assert named(inside((tmp_path / "c.ckpt").read_bytes())) == set()
    loaded = torch.load(tmp_path / "c.ckpt", weights_only=True)
    assert any(key.startswith("lightning_lr/") for key in loaded)


class Copies(Callback):
    """Pickles and copies module, optimizer, schedulers and callbacks in the middle of a fit."""

    def __init__(self) -> None:
        self.pickled: list[set[str]] = []
        self.copies: list[Any] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        stopping = [callback for callback in trainer.callbacks if isinstance(callback, EarlyStopping)]
        things = [pl_module, trainer.optimizers, [c.scheduler for c in trainer.lr_scheduler_configs], stopping]
        self.pickled += [named(pickle.dumps(thing)) for thing in things]
        self.pickled.append(named(inside(saved(pl_module))))
        self.copies += [copy.deepcopy(pl_module), pickle.loads(pickle.dumps(pl_module))]


class WithHook(Scripted):
    """Has what we put our own checks behind, and a scheduler that we guard."""

    def on_train_epoch_end(self) -> None:
        self.log("late", float(self.current_epoch))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]


@pytest.mark.parametrize("monitor", ["val_loss", "late"])
def test_module_and_callbacks_can_be_pickled_in_mid_run(monitor):
    """Nothing of ours is in it; a copy of the module trains by itself."""
    copies = Copies()
    callbacks = [eager(monitor, mode="max", anneal=True), EarlyStopping("val_loss", patience=5), copies]
    trainer(callbacks, max_epochs=2).fit(WithHook(), data(), data())
    assert copies.pickled
    assert set().union(*copies.pickled) == set()
    for twin in copies.copies[:2]:
        fit = trainer(None, max_epochs=2)
        fit.fit(twin, data(), data())
        assert float(fit.callback_metrics["late"]) == 1.0


def test_a_trainer_is_pickled_and_copied_after_its_fit(tmp_path):
    """Class: what we put on the strategy stays after the fit. The copy has it anew as it trains."""
    first = trainer(eager(), max_epochs=2)
    first.fit(Scripted(), data(), data())
    for again in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        assert again.strategy.save_checkpoint.__self__ is again.strategy
        again.fit_loop.max_epochs = 3
        again.fit(Scripted(), data(), data())
        again.save_checkpoint(tmp_path / "again.ckpt")
        assert type(again.strategy.save_checkpoint) is type(first.strategy.save_checkpoint)
        assert again.strategy.save_checkpoint is not first.strategy.save_checkpoint
