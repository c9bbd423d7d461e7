"""Replay over the logs of Lightning runs that never had our callback: what the loggers wrote is what is read."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", exc_type=ImportError)
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_lr.offline.cli import main
from lightning_lr.offline.logs.sources import open_run
from tests.helpers.scripted import Scripted, data, trainer

NAN = math.nan
LOSSES = [1.0, 0.8, NAN, 0.7, 0.71, 0.75, 0.8, 0.86, 0.9, 0.95, 1.0, 1.1]
STEPS = 4
"""Optimizer steps of an epoch."""


class Somebodys(Scripted):
    """Logs ``val/loss`` by the epoch, and a training loss at each step and each epoch."""

    def __init__(self, losses: list[float] = LOSSES) -> None:
        torch.manual_seed(0)  # each one trains alike
        super().__init__({})
        self.losses = losses

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", torch.tensor(self.losses[self.current_epoch], dtype=torch.float64))


def fit(logger: Any, model: Somebodys, *callbacks: Any, ckpt_path: Path | None = None, **options: Any) -> None:
    options = {"max_epochs": len(LOSSES), "log_every_n_steps": 1, "num_sanity_val_steps": 0, **options}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Experiment logs directory .* exists")  # a resumed CSVLogger's
        trainer(
            [LearningRateMonitor("step"), *callbacks],
            Path(logger.save_dir),
            logger=logger,
            enable_checkpointing=bool(callbacks),
            **options,
        ).fit(model, data(STEPS), data(1), ckpt_path=ckpt_path)


def kept(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder / "kept", "{epoch}", save_top_k=-1)


def read(folder: Path) -> list[tuple[int, int, int, float]]:
    """Check, epoch, step and monitor of each check."""
    found = [line.reading for line in open_run(folder).lines()]
    assert all(r.rates["lr-SGD"].applied == pytest.approx(0.1) for r in found)
    assert all(r.train is not None and len(r.train.blocks) > 0 for r in found)
    return [(r.check, r.epoch, r.step, r.metrics["val/loss"]) for r in found]


def checks(*epochs: int, losses: list[float] = LOSSES) -> list[tuple[int, int, int, Any]]:
    return [
        (check, epoch, (epoch + 1) * STEPS - 1, pytest.approx(losses[epoch], nan_ok=True))
        for check, epoch in enumerate(epochs)
    ]


def replayed(capsys: pytest.CaptureFixture[str], folder: Path) -> list[str]:
    """The sentences of ``lightning-lr replay``."""
    assert main(["replay", str(folder), "--set", "patience=3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["happened"] == []
    return [decision["reason"] for decision in document["replays"][0]["decisions"]]


def test_every_check_of_either_logger(tmp_path, capsys):
    """A value that is no number among them; both tell the same story, down to the sentence."""
    loggers = [TensorBoardLogger(tmp_path / "events"), CSVLogger(tmp_path / "table")]
    for logger in loggers:
        fit(logger, Somebodys())
    for logger in loggers:
        assert read(Path(logger.log_dir)) == checks(*range(12))
    events, table = (replayed(capsys, Path(logger.log_dir)) for logger in loggers)
    assert events == table
    assert any(reason.startswith("overfitting: ") and "val/loss" in reason for reason in events)


def test_a_run_that_was_killed_and_went_on(tmp_path):
    """Two event files in one folder; epochs 4 and 5 stand in both, and what the later file says counts."""
    fit(TensorBoardLogger(tmp_path, version=0), Somebodys([9 * loss for loss in LOSSES]), kept(tmp_path), max_epochs=6)
    logger = TensorBoardLogger(tmp_path, version=0)
    fit(logger, Somebodys(), kept(tmp_path), ckpt_path=tmp_path / "kept" / "epoch=3.ckpt")
    folder = Path(logger.log_dir)
    assert len([*folder.glob("events.out.tfevents.*")]) == 2
    assert read(folder) == checks(*range(12), losses=[9 * loss for loss in LOSSES[:4]] + LOSSES[4:])
    assert "the run was resumed 1 time; the steps logged last count" in open_run(folder).chosen


def test_a_csv_logger_that_went_on(tmp_path):
    """Lightning's CSVLogger throws the former table away: what there is begins at the checkpoint."""
    fit(CSVLogger(tmp_path, version=0), Somebodys(), kept(tmp_path), max_epochs=6)
    logger = CSVLogger(tmp_path, version=0)
    fit(logger, Somebodys(), kept(tmp_path), ckpt_path=tmp_path / "kept" / "epoch=3.ckpt")
    assert read(Path(logger.log_dir)) == checks(*range(4, 12))
