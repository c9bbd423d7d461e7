"""The training of train.py on a Ray cluster.

    python examples/cluster/ray_train.py --workers 2

Without an address Ray starts a small cluster on this machine. Where a worker dies, Ray starts all of them again from
the newest checkpoint, and the controller goes on in the journal that it began.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import ray
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, RayTrainReportCallback, prepare_trainer
from ray.train.torch import TorchTrainer
from train import DigitClassifier, Digits

from lightning_lr import LearningRateController


def train_on_each_worker(options: dict[str, Any]) -> None:
    """What every worker runs: an ordinary Lightning program with Ray's strategy and environment."""
    pl.seed_everything(0)
    torch.set_num_threads(1)
    trainer = pl.Trainer(
        accelerator="gpu" if options["gpu"] else "cpu",
        devices="auto" if options["gpu"] else 1,
        strategy=RayDDPStrategy(),
        plugins=[RayLightningEnvironment()],
        max_epochs=options["epochs"],
        # A worker's own folder is gone with the worker: logs and journal belong on a disk that all of them see.
        default_root_dir=options["folder"],
        logger=TensorBoardLogger(options["folder"], name="", version="tensorboard"),
        callbacks=[LearningRateController(monitor="val_loss"), RayTrainReportCallback()],
        enable_checkpointing=False,  # RayTrainReportCallback writes the checkpoints
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        prepare_trainer(trainer).fit(DigitClassifier(), Digits())
    else:
        with checkpoint.as_directory() as folder:
            file = Path(folder) / RayTrainReportCallback.CHECKPOINT_NAME
            prepare_trainer(trainer).fit(DigitClassifier(), Digits(), ckpt_path=file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/ray"), help="on a disk that every machine sees")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gpu", action="store_true", help="one GPU for each worker")
    options = parser.parse_args()
    folder = options.folder.absolute()

    result = TorchTrainer(
        train_on_each_worker,
        train_loop_config={"folder": str(folder), "epochs": options.epochs, "gpu": options.gpu},
        scaling_config=ScalingConfig(num_workers=options.workers, use_gpu=options.gpu),
        run_config=RunConfig(
            name="digits",
            storage_path=str(folder / "ray"),
            failure_config=FailureConfig(max_failures=3),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    ).fit()
    print(f"validation loss {result.metrics['val_loss']:.4f}; tensorboard --logdir {folder}")


if __name__ == "__main__":
    main()
