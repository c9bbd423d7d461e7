"""Which metric is watched: named, left to the rule, logged late, or never logged because no validation comes.

The class of fault: the callback knows a metric by one name at one hook, and a Trainer offers others elsewhere.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from lightning_lr import LearningRateController
from lightning_lr.callbacks import controller
from lightning_lr.errors import MissingMetricError
from tests.helpers.scripted import Scripted, data, eager, trainer
from tests.helpers.versions import skip_if_new

FALLS = [1.0 - 0.05 * i for i in range(20)]
SANITY = {"num_sanity_val_steps": 2}
NO_SANITY = {"num_sanity_val_steps": 0}
RULE = "lightning_lr: No `monitor` was given"
TRAINING = "monitoring the training loss instead"


def quiet(monitor: Any = None, **arguments: Any) -> LearningRateController:
    """Counts no beginning of an anneal among its checks."""
    return LearningRateController(monitor, **{"policy": "conservative", "verbose": False, **arguments})


def watched(control: LearningRateController) -> list[str]:
    return control.state_dict()["monitors"]


# --- no monitor given -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [SANITY, NO_SANITY, {"limit_val_batches": 0}], ids=["sanity", "none", "no-val"])
@pytest.mark.parametrize("arguments", [{}, {"policy": "conservative"}, {"dry_run": True}, {"monitor": None}], ids=str)
def test_a_module_that_logs_nothing(arguments, options, recwarn):
    """Lightning's first example: the training loss is watched, and one warning says so if a validation ran."""
    control = LearningRateController(**arguments)
    fit = trainer(control, max_epochs=3, limit_train_batches=4, **{"limit_val_batches": 2, **options})
    fit.fit(BoringModel())
    assert fit.global_step == 12
    assert watched(control) == ["train_loss"]
    warned = [str(w.message) for w in recwarn if RULE in str(w.message)]
    assert len(warned) == (options.get("limit_val_batches") != 0)
    assert all(TRAINING in sentence for sentence in warned)


# what validation logs → what is watched
CHOSEN = [
    (["val_loss"], ["val_loss"]),
    (["val_acc", "val_loss", "valid/loss"], ["val_loss"]),
    (["val_acc", "valid/loss"], ["valid/loss"]),
    (["val/loss_aux", "val/loss"], ["val/loss"]),
    (["loss"], ["loss"]),  # it has no word for held-out data, but the sanity check has logged it
    (["val_acc"], ["train_loss"]),
]


@pytest.mark.filterwarnings("ignore:lightning_lr. No `monitor`:UserWarning")
@pytest.mark.parametrize("interval", [1.0, 0.5])
@pytest.mark.parametrize(("logged", "chosen"), CHOSEN, ids=[" ".join(logged) for logged, _ in CHOSEN])
def test_the_rule(logged, chosen, interval):
    control = quiet()
    model = Scripted(dict.fromkeys(logged, FALLS), training={"train/loss": FALLS})
    trainer(control, max_epochs=3, val_check_interval=interval, **SANITY).fit(model, data(), data())
    assert watched(control) == chosen
    assert control.state_dict()["checks"] == (3 if interval == 1.0 else 6)


@pytest.mark.filterwarnings("ignore:lightning_lr. No `monitor`:UserWarning")
def test_all_loaders_of_the_validation_loss_vote():
    control = quiet()
    trainer(control, max_epochs=2).fit(Scripted(), data(), [data(), data()])
    assert watched(control) == ["val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"]


@pytest.mark.filterwarnings("ignore:lightning_lr. No `monitor`:UserWarning")
@pytest.mark.parametrize("logged", ["valid/loss", "val_acc"])
def test_the_choice_survives_a_resume(tmp_path: Path, logged: str):
    """The resumed run goes on with what the first one chose, and its memory of it."""
    script = {logged: FALLS}
    first = trainer(quiet(), max_epochs=3)
    first.fit(Scripted(script), data(), data())
    first.save_checkpoint(tmp_path / "last.ckpt")
    control = quiet()
    trainer(control, max_epochs=5).fit(Scripted(script), data(), data(), ckpt_path=tmp_path / "last.ckpt")
    assert watched(control) == [{"valid/loss": "valid/loss", "val_acc": "train_loss"}[logged]]
    assert control.state_dict()["checks"] == 5
    assert list(control.state_dict()["engine"]["history"]["monitors"]) == watched(control)


# --- a name that is not logged ----------------------------------------------------------------------------------------


class Silent(Scripted):
    """Logs nothing of its own during the sanity check."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_count", 1.0)
        if not self.trainer.sanity_checking:
            super().validation_step(batch, batch_idx)


class LogsInCallback(Callback):
    """Likewise in a callback."""

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.state.stage != "sanity_check":
            pl_module.log("val_extra", float(trainer.current_epoch))


class Plain(BoringModel):
    """Logs its validation loss like every first script."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.step(batch))


def test_the_sanity_check_shows_a_wrong_name_before_the_first_step():
    fit = trainer(quiet("val_los"), max_epochs=3, limit_train_batches=2, limit_val_batches=2, **SANITY)
    with pytest.raises(MissingMetricError, match="Did you mean `val_loss`"):
        fit.fit(Plain())
    assert fit.global_step == 0


class OnlyInSanityCheck(BoringModel):
    """What the sanity check shows does not come again."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.trainer.sanity_checking:
            self.log("val_loss", self.step(batch))


@pytest.mark.filterwarnings("ignore:lightning_lr. No `monitor`:UserWarning")
def test_the_rule_is_not_bound_by_the_sanity_check():
    control = quiet()
    fit = trainer(control, max_epochs=3, limit_train_batches=2, limit_val_batches=2, **SANITY)
    fit.fit(OnlyInSanityCheck())
    assert control.state_dict()["watches_training"]


@pytest.mark.parametrize(
    ("model", "monitor", "others"),
    [
        (lambda: Silent(), "val_loss", []),
        (lambda: Scripted(), "val_extra", [LogsInCallback()]),
        (lambda: Scripted(training={"train_mae": FALLS}), "train_mae", []),
        (lambda: Late("val_late"), "val_late", []),
    ],
    ids=["module", "callback", "training", "late"],
)
def test_what_comes_after_the_sanity_check_is_no_error(model, monitor, others):
    control = quiet(monitor)
    fit = trainer([control, *others], max_epochs=3, **SANITY)
    fit.fit(model(), data(), data())
    assert control.state_dict()["checks"] == 3


def test_the_name_train_loss_means_the_loss_of_training_step():
    """Without a metric of that name; with one, that metric."""
    control = quiet("train_loss")
    trainer(control, max_epochs=3).fit(Scripted(), data(), data())
    assert (watched(control), control.state_dict()["watches_training"]) == (["train_loss"], True)
    trainer(control, max_epochs=3).fit(Scripted(training={"train_loss": FALLS}), data(), data())
    assert (watched(control), control.state_dict()["watches_training"]) == (["train_loss"], False)


# --- logged at the end of the epoch -----------------------------------------------------------------------------------


class Late(Scripted):
    """Logs a metric in its own ``on_train_epoch_end``, which Lightning calls after that of every callback."""

    def __init__(self, name: str = "late", **script: Any) -> None:
        super().__init__(**script)
        self.name = name

    def on_train_epoch_end(self) -> None:
        self.log(self.name, 1.0 - 0.05 * self.current_epoch)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("options", [{}, {"val_check_interval": 0.5}, {"limit_val_batches": 0}], ids=str)
def test_a_metric_that_the_module_logs_last(tmp_path: Path, options, first):
    """One check an epoch, with the value of that epoch; the epoch's checkpoint has it already."""
    control = eager("late", journal=tmp_path / "journal.jsonl")
    kept = ModelCheckpoint(tmp_path, monitor="late", save_top_k=-1, filename="{epoch}", save_on_train_epoch_end=True)
    both = [control, kept] if first else [kept, control]
    fit = trainer(both, max_epochs=3, enable_checkpointing=True, **options)
    module = Late()
    fit.fit(module, data(), data())
    assert [(d.check, d.epoch) for d in control.decisions] == [(0, 0), (1, 1), (2, 2)]
    views = control.state_dict()["engine"]["history"]["monitors"]["late"]
    assert views["best"] == pytest.approx(0.9)
    saved = torch.load(tmp_path / "epoch=2.ckpt", weights_only=True)["callbacks"]
    (state,) = (state for key, state in saved.items() if "LearningRateController" in key)
    assert state["checks"] == 3
    assert "on_train_epoch_end" not in vars(module)


def test_two_controllers_and_a_late_metric():
    one, other = eager("late", name="one"), eager("late", name="other")
    trainer([one, other], max_epochs=3).fit(Late(), data(), data())
    assert [len(one.decisions), len(other.decisions)] == [3, 3]


# --- no validation comes ----------------------------------------------------------------------------------------------

BY_STEPS = {"check_val_every_n_epoch": None}
NEVER = [
    pytest.param({"check_val_every_n_epoch": sys.maxsize}, id="maxsize"),
    pytest.param({"check_val_every_n_epoch": 5}, id="beyond-the-epochs"),
    pytest.param({"val_check_interval": 1000, **BY_STEPS}, id="beyond-the-batches"),
    pytest.param({"check_val_every_n_epoch": 5, "max_epochs": -1, "max_steps": 8}, id="beyond-the-steps"),
    pytest.param({"check_val_every_n_epoch": 5, "max_epochs": 9, "max_steps": 8}, id="the-steps-come-first"),
]


@pytest.mark.parametrize("options", NEVER)
@pytest.mark.parametrize("arguments", [{}, {"monitor": "val_loss"}], ids=["rule", "named"])
def test_a_validation_that_never_comes(monkeypatch, options, arguments):
    """There is a loader, and the interval is longer than the run: the training side is watched, and said to be."""
    said: list[str] = []
    monkeypatch.setattr(controller, "say", lambda _, sentence: said.append(sentence))
    control = LearningRateController(**arguments, policy="conservative")
    fit = trainer(control, **{"max_epochs": 4, **NO_SANITY, **options})
    model = Scripted()
    fit.fit(model, data(), data())
    assert model.validations == 0
    assert control.state_dict()["checks"] == 4
    assert watched(control) == ["train_loss"]
    assert [sentence for sentence in said if TRAINING in sentence] == [
        "No validation runs that logs `val_loss`: monitoring the training loss instead."
    ]


COMES = [
    pytest.param({"check_val_every_n_epoch": 4}, 1, id="with-the-last-epoch"),
    pytest.param({"val_check_interval": 8, **BY_STEPS}, 1, id="with-the-last-batch"),
    pytest.param({"check_val_every_n_epoch": 2, "max_epochs": -1, "max_steps": 5}, 1, id="before-the-last-step"),
    pytest.param({"check_val_every_n_epoch": 2, "max_steps": 2, "accumulate_grad_batches": 2}, 1, id="accumulated"),
]


@pytest.mark.parametrize(("options", "validations"), COMES)
def test_a_validation_that_comes_late(options, validations):
    """The other side of each limit: what validation logs is watched."""
    control = quiet("val_loss")
    model = Scripted()
    trainer(control, **{"max_epochs": 4, **NO_SANITY, **options}).fit(model, data(), data())
    assert (model.validations, watched(control)) == (validations, ["val_loss"])
    assert control.state_dict()["checks"] == validations


@pytest.mark.parametrize("options", [{}, *(one.values[0] for one in NEVER)])
def test_a_wrong_name_is_an_error_with_and_without_validation(options):
    fit = trainer(quiet("no_such_metric"), **{"max_epochs": 4, **NO_SANITY, **options})
    with pytest.raises(MissingMetricError, match="`no_such_metric`"):
        fit.fit(Scripted(), data(), data())
    assert fit.current_epoch == 0


# --- validation by the clock ------------------------------------------------------------------------------------------

CLOCKS = ["00:00:00:00", timedelta(seconds=0), {"seconds": 0}, "00:01:00:00", {"hours": 1}]


@pytest.mark.parametrize("interval", CLOCKS, ids=str)
@pytest.mark.parametrize(
    "arguments",
    [{"policy": "auto", "find_lr": False}, {}, {"policy": "halving"}, {"policy": "auto", "dry_run": True}],
    ids=str,
)
def test_validation_by_the_clock(interval, arguments):
    """In each form that the Trainer takes: as many checks as validations."""
    skip_if_new("a validation by the clock")
    control = quiet("val_loss", **{"anneal": False, **arguments})
    model = Scripted()
    fit = trainer(control, max_epochs=3, val_check_interval=interval)
    fit.fit(model, data(), data())
    assert fit.global_step == 6
    assert control.state_dict()["checks"] == model.validations


def test_a_clock_that_is_slower_than_the_run():
    """``max_time`` ends the run before the first validation."""
    skip_if_new("a validation by the clock")
    control = quiet()
    trainer(control, max_epochs=3, max_time={"minutes": 5}, val_check_interval={"hours": 1}).fit(
        Scripted(), data(), data()
    )
    assert (watched(control), control.state_dict()["checks"]) == (["train_loss"], 3)
