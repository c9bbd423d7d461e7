"""A graph network on graphs with a rule: which of two kinds of nodes there are more of."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch_geometric.data import Data
from torch_geometric.data.lightning import LightningDataset
from torch_geometric.nn import GCNConv, global_mean_pool

PACKAGE = "torch-geometric"
MONITOR, LR, EPOCHS = "val_loss", 1e-3, 12


def graphs(number: int, seed: int) -> list[Data]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(number):
        kinds = torch.randint(0, 2, (12,), generator=generator)
        edges = torch.randint(0, 12, (2, 30), generator=generator)
        features = torch.nn.functional.one_hot(kinds, 2).float() + 0.3 * torch.randn(12, 2, generator=generator)
        made.append(Data(x=features, edge_index=edges, y=(kinds.sum() > 6).long().reshape(1)))
    return made


class Net(LightningModule):
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.first, self.second, self.head = GCNConv(2, 32), GCNConv(32, 32), torch.nn.Linear(32, 2)

    def loss(self, batch: Any) -> torch.Tensor:
        hidden = self.second(self.first(batch.x, batch.edge_index).relu(), batch.edge_index).relu()
        return torch.nn.functional.cross_entropy(self.head(global_mean_pool(hidden, batch.batch)), batch.y)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch), batch_size=len(batch.y))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def train(lr: float, options: dict[str, Any], ckpt_path: str | None = None) -> None:
    data = LightningDataset(graphs(600, 0), graphs(200, 1), batch_size=32)
    Trainer(max_epochs=EPOCHS, **options).fit(Net(lr), data, ckpt_path=ckpt_path)
