"""The written rule: which metrics of a run are watched where nobody says."""

from __future__ import annotations

import pytest

from lightning_lr.engine.history.metric_names import validation_losses
from lightning_lr.errors import MissingMetricError
from lightning_lr.offline.logs.monitors import choose

TABLE = [
    # logged                                                monitors                  train            single steps
    (["val_loss", "train_loss"], ("val_loss",), "train_loss", None),
    (["val/loss", "train/loss"], ("val/loss",), "train/loss", None),
    (["valid_loss_epoch", "loss"], ("valid_loss_epoch",), "loss", None),
    (["Validation-Loss", "training_loss_epoch"], ("Validation-Loss",), "training_loss_epoch", None),
    (["val_loss", "val_loss_epoch", "val_loss_step"], ("val_loss",), None, None),
    (["val_loss_aux", "val_loss"], ("val_loss",), None, None),
    (["val/loss", "val_loss"], ("val_loss",), None, None),
    (["val_loss_aux", "val_acc"], ("val_loss_aux",), None, None),
    (["val_acc", "val/loss/dataloader_idx_1", "val/loss/dataloader_idx_0"],
     ("val/loss/dataloader_idx_0", "val/loss/dataloader_idx_1"), None, None),
    (["val_loss", "train_loss_step", "train_loss_epoch"], ("val_loss",), "train_loss_epoch", "train_loss_step"),
    (["val_loss", "loss_step", "test_loss"], ("val_loss",), None, "loss_step"),
    (["lr_controller/val_loss/best", "val_loss", "epoch", "hp_metric"], ("val_loss",), None, None),
    (["train_loss", "epoch"], ("train_loss",), "train_loss", None),
    # a total before its parts, a validation metric before any training loss, the training loss of the monitor's kind
    (["val_loss_cls", "val_mean_loss", "loss_cls", "mean_loss"], ("val_mean_loss",), "mean_loss", None),
    (["total_loss", "aux_loss"], ("total_loss",), "total_loss", None),
    (["train_loss", "val_acc"], ("val_acc",), "train_loss", None),
    (["train_loss", "train_mse", "val_mse", "val_acc"], ("val_mse",), "train_mse", None),
    (["loss", "eval_runtime", "eval_samples_per_second"], ("loss",), "loss", None),
    (["train_loss", "test_loss"], ("test_loss",), "train_loss", None),
    (["train_loss", "test_loss", "val_acc"], ("val_acc",), "train_loss", None),
    (["loss", "val_lr", "val_time"], ("loss",), "loss", None),
    (["acc", "epoch", "lr", "Wall time"], ("acc",), None, None),
]  # fmt: skip


@pytest.mark.parametrize(("names", "monitors", "train", "steps"), TABLE)
def test_the_rule(names, monitors, train, steps):
    choice = choose(names)
    assert (choice.monitors, choice.train, choice.train_steps) == (monitors, train, steps)
    assert validation_losses(names) in (monitors, ())  # as a live run chooses


def test_the_users_own_choice():
    choice = choose(["val_acc", "val_loss", "train_acc"], ["val_acc"], "train_acc")
    assert (choice.monitors, choice.train) == (("val_acc",), "train_acc")
    assert choice.sentence == "monitor val_acc (as asked for); training loss train_acc (as asked for)"


MISSING = [
    (
        ["acc", "iou", "epoch"],
        [],
        None,
        "Expected a metric with a name like val_loss in run/ but it logged acc, iou. Pass --monitor NAME.",
    ),
    (
        ["epoch", "step"],
        [],
        None,
        "Expected a metric with a name like val_loss in run/ but it logged no metric at all.",
    ),
    (["val_loss"], ["acc"], None, "Expected a metric 'acc' in run/ but it logged val_loss. Pass --monitor NAME."),
    (["val_loss"], [], "loss", "Expected a metric 'loss' in run/ but it logged val_loss. Pass --monitor NAME."),
]


@pytest.mark.parametrize(("names", "monitors", "train", "message"), MISSING)
def test_a_metric_that_is_not_there(names, monitors, train, message):
    with pytest.raises(MissingMetricError) as raised:
        choose(names, monitors, train, "run/")
    assert str(raised.value) == message
