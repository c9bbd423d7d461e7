"""NHITS on two noisy waves; it copies its arguments, and brings a StepLR that never steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from neuralforecast import NeuralForecast
from neuralforecast.models import NHITS

PACKAGE = "neuralforecast"
RESUMES = False
MONITOR, LR, EPOCHS = "ptl/val_loss", 1e-3, 150


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    random = np.random.default_rng(0)
    frames = []
    for name in ("a", "b"):
        wave = np.sin(np.arange(300) / 6.0) + 0.1 * random.standard_normal(300)
        frames.append(pd.DataFrame({"unique_id": name, "ds": pd.date_range("2020-01-01", periods=300), "y": wave}))
    model = NHITS(
        h=8,
        input_size=24,
        max_steps=EPOCHS,
        learning_rate=lr,
        num_lr_decays=-1,
        val_check_steps=15,
        mlp_units=3 * [[32, 32]],
        batch_size=2,
        windows_batch_size=64,
        random_seed=0,
        **options,
    )
    NeuralForecast([model], freq="D").fit(pd.concat(frames), val_size=40)
