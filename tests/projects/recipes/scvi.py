"""scVI on counts of four kinds of cells; its Trainer validates only if it is asked to."""

from __future__ import annotations

from typing import Any

import numpy as np
import scvi
from anndata import AnnData

PACKAGE = "scvi-tools"
MONITOR, LR, EPOCHS = "elbo_validation", 1e-3, 20


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    scvi.settings.seed = 0  # it deals out the batches from a state of its own
    random = np.random.default_rng(0)
    profiles = random.gamma(0.5, 4.0, (4, 60))
    cells = AnnData(random.poisson(profiles[random.integers(0, 4, 800)]).astype(np.float32))
    scvi.model.SCVI.setup_anndata(cells)
    model = scvi.model.SCVI(cells, n_hidden=32, n_latent=4)
    more = {"ckpt_path": ckpt_path} if ckpt_path else {}
    model.train(
        max_epochs=EPOCHS,
        batch_size=64,
        train_size=0.8,
        check_val_every_n_epoch=1,
        plan_kwargs={"lr": lr},
        **options,
        **more,
    )
