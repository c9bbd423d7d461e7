"""A block RNN on a noisy wave; darts builds the Trainer and pickles its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from darts import TimeSeries
from darts.models import BlockRNNModel

PACKAGE = "darts"
RESUMES = False
MONITOR, LR, EPOCHS = "val_loss", 1e-3, 12


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    random = np.random.default_rng(0)
    wave = np.sin(np.arange(700) / 6.0) + 0.1 * random.standard_normal(700)
    series = TimeSeries.from_values(wave.astype(np.float32))
    model = BlockRNNModel(
        input_chunk_length=18,
        output_chunk_length=4,
        hidden_dim=16,
        n_epochs=EPOCHS,
        batch_size=32,
        random_state=0,
        optimizer_kwargs={"lr": lr},
        pl_trainer_kwargs=options,
    )
    model.fit(series[:500], val_series=series[480:], verbose=False)
