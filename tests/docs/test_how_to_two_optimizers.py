"""The how-to, done as it says, with a small GAN."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController
from tests.helpers.scripted import QUIET

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "two-optimizers.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- run: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))


class Gan(LightningModule):
    """Two networks of one layer; validation logs what a test says."""

    def __init__(self, distances: list[float], accuracies: list[float]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.critic = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
        self.distances, self.accuracies = distances, accuracies

    def training_step(self, batch: Any, batch_idx: int) -> None:
        real, (first, second) = batch[0], self.optimizers()
        fake = self.generator(torch.randn_like(real))
        for optimizer, loss in (
            (first, -self.critic(fake).mean()),
            (second, (self.critic(fake.detach()) - self.critic(real)).mean()),
        ):
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_distance", self.distances[min(self.current_epoch, len(self.distances) - 1)])
        self.log("val_accuracy", self.accuracies[min(self.current_epoch, len(self.accuracies) - 1)])

    def configure_optimizers(self) -> Any:
        return [
            torch.optim.SGD(self.generator.parameters(), lr=0.01),
            torch.optim.Adam(self.critic.parameters(), lr=0.002),
        ]


def data() -> DataLoader:
    return DataLoader(TensorDataset(torch.randn(40, 2)), batch_size=4)


def rates(trainer: Trainer) -> list[float]:
    return [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers]


def train(callbacks: list[Any], distances: list[float], accuracies: list[float], **options: Any) -> Trainer:
    torch.manual_seed(0)
    trainer = Trainer(callbacks=callbacks, **{**QUIET, "max_epochs": 12, **options})
    trainer.fit(Gan(distances, accuracies), data(), data())
    return trainer


FALLS = [1.0 - 0.05 * epoch for epoch in range(12)]
RISES = [0.5 + 0.04 * epoch for epoch in range(12)]
FLAT = [1.0, 0.8, *[0.8] * 10]


def test_each_optimizer_has_its_own_decisions(tmp_path: Path) -> None:
    """The generator's metric stands still, the critic's rises: the first optimizer alone is reduced."""
    made: dict[str, Any] = {}
    exec(BLOCKS["controllers"], made)
    trainer = train([made["generator"], made["critic"]], FLAT, RISES, logger=CSVLogger(tmp_path))
    generator, critic = made["generator"], made["critic"]
    assert generator.decisions
    assert not critic.decisions
    first, second = rates(trainer)
    assert first <= 0.005
    assert second == 0.002
    assert (set(generator.scale), set(critic.scale)) == ({"lr-SGD"}, {"lr-Adam"})
    written = sorted(path.name for path in tmp_path.rglob("*.jsonl"))
    assert written == ["lr_journal_critic.jsonl", "lr_journal_generator.jsonl"]


def test_without_a_search_nothing_is_annealed() -> None:
    """80 steps, two optimizers, the default policy: the rates at the end are those of the start."""
    controller = LearningRateController("val_distance", verbose=False)
    trainer = train([controller], FALLS, RISES, max_epochs=8)
    assert [decision.action for decision in controller.decisions] == []
    assert rates(trainer) == [0.01, 0.002]


def test_an_anneal_that_was_asked_for() -> None:
    """Both optimizers reach the end of their curve at the end of the run."""
    both = [
        LearningRateController("val_distance", param_groups=[index], name=str(index), anneal=True, verbose=False)
        for index in (0, 1)
    ]
    trainer = train(both, FALLS, RISES, max_epochs=8)
    assert [[str(d.action) for d in controller.decisions] for controller in both] == [["anneal"], ["anneal"]]
    assert max(rates(trainer)) < 0.0005
