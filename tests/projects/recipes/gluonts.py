"""A feed-forward forecaster; the estimator builds the Trainer and brings a ReduceLROnPlateau."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from gluonts.dataset.common import ListDataset
from gluonts.torch import SimpleFeedForwardEstimator

PACKAGE = "gluonts"
MONITOR, LR, EPOCHS = "val_loss", 1e-3, 15


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    random = np.random.default_rng(0)
    waves = [5 + np.sin(np.arange(240) / 6.0 + k) + 0.1 * random.standard_normal(240) for k in range(8)]
    start = pd.Period("2020-01-01", freq="D")
    parts = [ListDataset([{"start": start, "target": wave[:end]} for wave in waves], freq="D") for end in (180, 240)]
    estimator = SimpleFeedForwardEstimator(
        prediction_length=6, context_length=24, hidden_dimensions=[32], lr=lr, batch_size=32, num_batches_per_epoch=20,
        trainer_kwargs={"max_epochs": EPOCHS, **options, "enable_checkpointing": True},
    )  # fmt: skip
    estimator.train(parts[0], validation_data=parts[1], ckpt_path=ckpt_path)
