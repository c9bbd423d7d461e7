"""Healthy runs that look ill to rules for long, smooth curves: few batches an epoch, an accuracy that stands still."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", exc_type=ImportError)
import torch
from lightning.pytorch import LightningModule
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController
from lightning_lr.engine.vocabulary import Action
from tests.helpers.scripted import trainer


class Classifier(LightningModule):
    """Two classes; logs the held-out metrics that are named."""

    def __init__(self, net: torch.nn.Module, lr: float, logged: tuple[str, ...]) -> None:
        super().__init__()
        self.net, self.lr, self.logged = net, lr, logged
        self.shown: list[dict[str, float]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        out = self.net(batch[0])
        accuracy = (out.argmax(1) == batch[1]).float().mean()
        known = {"val_loss": cross_entropy(out, batch[1]), "val_acc": accuracy, "val_error_rate": 1 - accuracy}
        self.shown.append({name: float(value) for name, value in known.items()})
        self.log_dict({name: known[name] for name in self.logged})

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), self.lr)


def fitted(tmp_path, model, train, val, monitor="val_loss", mode="min", **options) -> list[Any]:
    """The decisions other than hold of a run that is not changed by them."""
    ours = LearningRateController(monitor, mode=mode, policy="conservative", dry_run=True, verbose=False)
    trainer([ours], tmp_path, logger=False, num_sanity_val_steps=0, **options).fit(model, train, val)
    return [decision for decision in ours.decisions if decision.action is not Action.HOLD]


@pytest.mark.parametrize(("batches", "size"), [(1, 16), (2, 8), (8, 4)])
@pytest.mark.parametrize("seed", range(2))
def test_few_batches_an_epoch_are_no_divergence(tmp_path, batches, size, seed):
    """Class: noise of single batches taken for lost ground. Fresh data in each epoch: nothing can overfit."""
    torch.manual_seed(seed)
    x, w = torch.randn(3000, 20), torch.randn(20)
    y = (x @ w + 3 * torch.randn(3000) > 0).long()
    net = torch.nn.Sequential(torch.nn.Linear(20, 20), torch.nn.Dropout(0.5), torch.nn.ReLU(), torch.nn.Linear(20, 2))
    train = DataLoader(TensorDataset(x[:2000], y[:2000]), size, shuffle=True)
    val = DataLoader(TensorDataset(x[2000:], y[2000:]), 1000)
    found = fitted(
        tmp_path, Classifier(net, 1e-3, ("val_loss",)), train, val, max_epochs=45, limit_train_batches=batches
    )
    assert [decision.condition for decision in found if decision.condition == "divergence"] == []


@pytest.mark.parametrize(
    ("monitor", "mode", "logged"),
    [
        ("val_acc", "max", ("val_acc", "val_loss")),
        ("val_error_rate", "min", ("val_error_rate", "val_loss")),
        ("val_acc", "max", ("val_acc",)),
    ],
)
def test_an_accuracy_that_stands_still_is_left_alone_while_the_losses_fall(tmp_path, monitor, mode, logged):
    """Class: a discrete metric hides that the model learns. An accuracy, an error rate, and no loss but training's."""
    torch.manual_seed(1)
    x, w = torch.randn(900, 20), torch.randn(20) / 20**0.5
    z = x @ w + 0.3 * torch.randn(900)
    y = (z > torch.quantile(z, 0.85)).long()
    net = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    with torch.no_grad():  # it begins by saying that all are of the larger class
        net[2].weight *= 0.1
        net[2].bias.copy_(torch.tensor([1.0, -1.0]))
    model = Classifier(net, 3e-4, logged)
    train = DataLoader(TensorDataset(x[:600], y[:600]), 30, shuffle=True)
    found = fitted(
        tmp_path, model, train, DataLoader(TensorDataset(x[600:], y[600:]), 300), monitor, mode, max_epochs=30
    )
    accuracies = [shown["val_acc"] for shown in model.shown]
    still = max(accuracies.count(value) for value in accuracies)
    assert still >= 12  # else the test shows nothing
    assert model.shown[-1]["val_loss"] < 0.8 * model.shown[0]["val_loss"]
    assert found == []
