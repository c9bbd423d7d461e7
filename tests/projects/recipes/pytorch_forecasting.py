"""DeepAR on noisy waves; its base model brings a ReduceLROnPlateau with a patience of 1000."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from lightning.pytorch import Trainer
from pytorch_forecasting import NBeats, TimeSeriesDataSet
from pytorch_forecasting.data import NaNLabelEncoder

PACKAGE = "pytorch-forecasting"
MONITOR, LR, EPOCHS = "val_loss", 1e-3, 10


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    random = np.random.default_rng(0)
    frames = [
        pd.DataFrame({
            "series": str(number), "time": np.arange(200),
            "value": 2.0 + np.sin(np.arange(200) / 5.0 + number) + 0.1 * random.standard_normal(200),
        })
        for number in range(4)
    ]  # fmt: skip
    data = pd.concat(frames, ignore_index=True)
    training = TimeSeriesDataSet(
        data[data.time < 150],
        time_idx="time",
        target="value",
        group_ids=["series"],
        categorical_encoders={"series": NaNLabelEncoder().fit(data.series)},
        time_varying_unknown_reals=["value"],
        max_encoder_length=20,
        max_prediction_length=5,
    )
    validation = TimeSeriesDataSet.from_dataset(training, data, min_prediction_idx=150)
    model = NBeats.from_dataset(training, learning_rate=lr, widths=[16, 32], backcast_loss_ratio=0.1)
    loaders = training.to_dataloader(train=True, batch_size=64), validation.to_dataloader(train=False, batch_size=200)
    # Its checkpoints hold classes of its own, which the default of `weights_only` refuses, without us as well.
    Trainer(max_epochs=EPOCHS, gradient_clip_val=0.1, limit_train_batches=10, **options).fit(
        model, *loaders, ckpt_path=ckpt_path, weights_only=False
    )
