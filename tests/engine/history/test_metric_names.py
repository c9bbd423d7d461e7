"""Names as projects log them: their words, the data they speak of, and the direction they are meant to go."""

from __future__ import annotations

import pytest

from lightning_lr.engine.history.direction import doubt
from lightning_lr.engine.history.metric_names import bare_name, is_held_out, is_loss, is_meant_to_rise, words
from lightning_lr.engine.vocabulary import Mode
from lightning_lr.offline.logs.monitors import choose

TABLE = [
    # name, words, held out, bare, loss, rises
    ("val_loss",                    "val loss",                       True,  "loss",                   True,  False),
    ("valid_loss",                  "valid loss",                     True,  "loss",                   True,  False),
    ("Validation/Loss",             "validation loss",                True,  "loss",                   True,  False),
    ("val_loss_epoch",              "val loss epoch",                 True,  "loss",                   True,  False),
    ("val/loss/dataloader_idx_12",  "val loss",                       True,  "loss",                   True,  False),
    ("dataloader_idx_12/loss",      "dataloader idx 12 loss",         True,  "dataloader_idx_12_loss", True,  False),
    ("val_constraint",              "val constraint",                 True,  "constraint",             False, False),
    ("pretrained_val_loss",         "pretrained val loss",            True,  "pretrained_loss",        True,  False),
    ("constrained/nll",             "constrained nll",                True,  "constrained_nll",        False, False),
    ("strain_energy",               "strain energy",                  True,  "strain_energy",          False, False),
    ("value_loss",                  "value loss",                     True,  "value_loss",             True,  False),
    ("eval/nll",                    "eval nll",                       True,  "nll",                    False, False),
    ("eval/f1-score",               "eval f1 score",                  True,  "f1_score",               False, True),
    ("test_acc",                    "test acc",                       True,  "acc",                    False, True),
    ("test acc",                    "test acc",                       True,  "acc",                    False, True),
    ("dev_f1",                      "dev f1",                         True,  "f1",                     False, True),
    ("val_mIoU",                    "val miou",                       True,  "miou",                   False, True),
    ("valAccuracy",                 "val accuracy",                   True,  "accuracy",               False, True),
    ("ValMSELoss",                  "val mse loss",                   True,  "mse_loss",               True,  False),
    ("val_BinaryAUROC",             "val binary auroc",               True,  "binary_auroc",           False, True),
    ("val/MulticlassF1Score",       "val multiclass f1 score",        True,  "multiclass_f1_score",    False, True),
    ("val.bbox.mAP@0.5",            "val bbox map 0 5",               True,  "bbox_map_0_5",           False, True),
    ("valloss",                     "val loss",                       True,  "loss",                   True,  False),
    ("val_totalloss",               "val total loss",                 True,  "total_loss",             True,  False),
    ("val_acc_loss",                "val acc loss",                   True,  "acc_loss",               True,  False),
    ("glossary_hits",               "glossary hits",                  True,  "glossary_hits",          False, False),
    ("val/损失",                    "val 损失",                       True,  "损失",                   False, False),
    ("loss",                        "loss",                           True,  "loss",                   True,  False),
    ("epoch_loss",                  "epoch loss",                     True,  "loss",                   True,  False),
    ("val",                         "val",                            True,  "",                       False, False),
    ("train_loss",                  "train loss",                     False, "loss",                   True,  False),
    ("train_loss_epoch",            "train loss epoch",               False, "loss",                   True,  False),
    ("train_loss_step",             "train loss step",                False, "loss",                   True,  False),
    ("trainLoss",                   "train loss",                     False, "loss",                   True,  False),
    ("TrainLoss",                   "train loss",                     False, "loss",                   True,  False),
    ("trainloss",                   "train loss",                     False, "loss",                   True,  False),
    ("Loss/train",                  "loss train",                     False, "loss",                   True,  False),
    ("training_accuracy",           "training accuracy",              False, "accuracy",               False, True),
    ("TRAIN/ACC",                   "train acc",                      False, "acc",                    False, True),
    ("train_val_loss",              "train val loss",                 True,  "loss",                   True,  False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "split", "held_out", "bare", "loss", "rises"), TABLE, ids=[row[0] for row in TABLE])
def test_what_a_name_tells(name, split, held_out, bare, loss, rises):
    assert " ".join(words(name)) == split
    assert (is_held_out(name), bare_name(name)) == (held_out, bare)
    assert (is_loss(name), is_meant_to_rise(name)) == (loss, rises)


@pytest.mark.parametrize("name", ["valAcc", "valacc", "ValidationAccuracy", "val_mIoU", "val/MulticlassF1Score"])
def test_a_mode_is_doubted_however_the_name_is_spelt(name):
    assert doubt(name, Mode.MIN) is not None


@pytest.mark.parametrize(
    ("names", "monitors", "train"),
    [
        (["valLoss", "trainLoss"], ("valLoss",), "trainLoss"),
        (["Loss/validation", "Loss/train"], ("Loss/validation",), "Loss/train"),
        (["evaluation_loss", "trn_loss"], ("evaluation_loss",), "trn_loss"),
        (["ValMSELoss", "valLossStep", "lossEpoch"], ("ValMSELoss",), "lossEpoch"),
    ],
)
def test_offline_the_same_words_choose_the_monitor(names, monitors, train):
    choice = choose(names)
    assert (choice.monitors, choice.train) == (monitors, train)
