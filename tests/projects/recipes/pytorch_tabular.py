"""A category embedding model on a table; the package builds the Trainer and stops early by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pytorch_tabular import TabularModel
from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
from pytorch_tabular.models import CategoryEmbeddingModelConfig

PACKAGE = "pytorch-tabular"
RESUMES = False
MONITOR, LR, EPOCHS = "valid_loss", 1e-3, 12


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.standard_normal((1200, 5)), columns=list("abcde"))
    table["target"] = np.sin(2 * table.a) + table.b * table.c + 0.1 * random.standard_normal(1200)
    callbacks = options.pop("callbacks")
    options = {name: value for name, value in options.items() if name in ("default_root_dir",)}
    model = TabularModel(
        data_config=DataConfig(target=["target"], continuous_cols=list("abcde"), num_workers=0),
        model_config=CategoryEmbeddingModelConfig(task="regression", learning_rate=lr, layers="64-32"),
        optimizer_config=OptimizerConfig(),
        trainer_config=TrainerConfig(
            max_epochs=EPOCHS, batch_size=64, early_stopping=None, checkpoints=None, load_best=False,
            progress_bar="none", accelerator="cpu", trainer_kwargs=options, seed=0,
        ),
        verbose=False,
    )  # fmt: skip
    model.fit(train=table[:900], validation=table[900:], callbacks=callbacks)
