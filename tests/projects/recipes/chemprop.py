"""A message passing network on small molecules; its model brings a Noam schedule of its own."""

from __future__ import annotations

import random
from typing import Any

from chemprop import data, models, nn
from lightning.pytorch import Trainer

PACKAGE = "chemprop"
MONITOR, LR, EPOCHS = "val_loss", 1e-3, 12


def molecules() -> list[data.MoleculeDatapoint]:
    """Chains of carbon, oxygen and nitrogen; the target counts them with weights."""
    made = []
    for length in range(3, 10):
        for code in range(40):
            chain = "".join("CCON"[(code * (place + 3) + place * place) % 4] for place in range(length))
            smiles = chain.replace("OO", "OC").replace("NN", "NC").replace("NO", "NC").replace("ON", "OC")
            target = 0.5 * smiles.count("O") - 0.8 * smiles.count("N") + 0.1 * length
            made.append(data.MoleculeDatapoint.from_smi(smiles, [target]))
    return made


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    points = molecules()
    random.Random(0).shuffle(points)
    parts = [data.MoleculeDataset([p for i, p in enumerate(points) if (i % 4 == 0) == held]) for held in (False, True)]
    loaders = [data.build_dataloader(part, batch_size=32, shuffle=i == 0, seed=0) for i, part in enumerate(parts)]
    network = nn.BondMessagePassing(d_h=64)
    # The package's three rates, in its own proportions.
    model = models.MPNN(
        network, nn.MeanAggregation(), nn.RegressionFFN(input_dim=64), init_lr=lr / 10, max_lr=lr, final_lr=lr / 10
    )
    # Its checkpoints hold Lightning's `AttributeDict`, which the default of `weights_only` refuses, without us as well.
    Trainer(max_epochs=EPOCHS, **options).fit(model, *loaders, ckpt_path=ckpt_path, weights_only=False)
