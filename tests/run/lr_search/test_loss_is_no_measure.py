"""Losses that do not say how good the model is, and losses from another zero.

The class of faults: what the search reads is the loss of ``training_step``. In reinforcement learning, for critics and
for other losses without a bound, a lower one is no better model; and no loss has a natural zero.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, seed_everything
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController
from tests.helpers.scripted import trainer

EPOCHS = 10


def network(outputs: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, outputs))


class Base(LightningModule):
    """Adam, at a rate that works."""

    mode = "max"

    def __init__(self, lr: float = 1e-2) -> None:
        super().__init__()
        self.lr, self.net = lr, network(8)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class PolicyGradient(Base):
    """A bandit of eight actions; the loss is a score times a chance, around zero."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        chosen = torch.distributions.Categorical(logits=self.net(batch[0]))
        action = chosen.sample()
        reward = (action == batch[0].argmax(1)).float()
        return -((reward - reward.mean()) * chosen.log_prob(action)).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_score", (self.net(batch[0]).argmax(1) == batch[0].argmax(1)).float().mean())


class Unbounded(Base):
    """The mean margin, negative: it falls for ever as the weights grow; the accuracy does not rise with it."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        scores, best = self.net(batch[0]), batch[0].argmax(1)
        return (scores.mean(1) - scores.gather(1, best[:, None])[:, 0]).mean()

    validation_step = PolicyGradient.validation_step


class Bootstrapped(Base):
    """Values of states by temporal differences: the target moves with the network."""

    mode = "min"

    def __init__(self, lr: float = 1e-2) -> None:
        super().__init__(lr)
        self.net = network(1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        states, after = batch[0], batch[0].roll(1, dims=1)
        with torch.no_grad():
            target = states[:, 0] + 0.8 * self.net(after)[:, 0]
        return (self.net(states)[:, 0] - target).pow(2).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        states = batch[0]
        discounts = 0.8 ** torch.arange(8) / (1 - 0.8**8)
        true = sum(discounts[i] * states.roll(i, dims=1)[:, 0] for i in range(8))
        self.log("val_score", (self.net(states)[:, 0] - true).pow(2).mean())


class Critic(Base):
    """The kind of an adversary: a difference of mean scores without a bound; what counts is how often it is right."""

    def __init__(self, lr: float = 1e-2) -> None:
        super().__init__(lr)
        self.net = network(1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.net(1.2 * torch.randn_like(batch[0]) + 0.3).mean() - self.net(batch[0]).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        made = 1.2 * torch.randn(batch[0].shape, generator=torch.Generator().manual_seed(0)) + 0.3
        true, false = self.net(batch[0]), self.net(made)
        self.log("val_score", (true > false.T).float().mean())


class NoLevel(Base):
    """The kind of losses that balance each other: divided by itself it is 1, and only its gradient says anything."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = cross_entropy(self.net(batch[0]), batch[0].argmax(1))
        return loss / loss.detach()

    validation_step = PolicyGradient.validation_step


def loaders() -> tuple[DataLoader, DataLoader]:
    generator = torch.Generator().manual_seed(0)
    return tuple(  # type: ignore[return-value]
        DataLoader(TensorDataset(torch.randn(count, 8, generator=generator)), size, shuffle=shuffle)
        for count, size, shuffle in ((1500, 50, True), (1000, 1000, False))
    )


def score(module: Base, callbacks: list[Any], seed: int) -> float:
    fit = trainer(callbacks, max_epochs=EPOCHS)
    fit.fit(module, *loaders())
    return float(fit.callback_metrics["val_score"])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("lr", [1e-4, 1e-2])
@pytest.mark.parametrize("make", [PolicyGradient, Unbounded, Bootstrapped, Critic, NoLevel])
def test_what_the_user_measures_is_no_worse_for_the_search(make: type[Base], lr: float, seed: int) -> None:
    """The default call."""
    found = []
    for searches in (False, True):
        seed_everything(seed, verbose=False)
        module = make(lr)
        control = LearningRateController("val_score", module.mode, verbose=False)
        found.append(score(module, [control] if searches else [], seed))
    without, with_search = found if make.mode == "max" else [-value for value in found]
    assert with_search >= without - 0.05, (found, [str(decision) for decision in control.decisions])


class Measured(Base):
    """Cross entropy, beside a score that rises with it or falls as the weights leave their start."""

    def __init__(self, alike: bool) -> None:
        super().__init__(1e-5)
        self.alike = alike
        self.start = [weight.detach().clone() for weight in self.net.parameters()]

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return cross_entropy(self.net(batch[0]), batch[0].argmax(1))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        moved = sum((one - other).norm() for one, other in zip(self.net.parameters(), self.start, strict=True))
        self.log("val_score", -self.training_step(batch, batch_idx) if self.alike else -moved)


@pytest.mark.parametrize(
    ("alike", "insists", "moves"), [(True, "auto", True), (False, "auto", False), (False, True, True)]
)
def test_a_rate_is_moved_only_if_the_monitor_says_what_the_loss_says(alike: bool, insists: Any, moves: bool) -> None:
    control = LearningRateController("val_score", "max", verbose=False, find_lr=insists)
    trainer([control], max_epochs=2).fit(Measured(alike), *loaders())
    decision = next(decision for decision in control.decisions if decision.action == "explore")
    assert (decision.factor != 1.0) is moves
    assert ("`val_score` does not get better where the loss is lowest; find_lr=True" in decision.reason) is not moves


class Classifier(LightningModule):
    """Cross entropy and a constant."""

    def __init__(self, shift: float, lr: float) -> None:
        super().__init__()
        self.shift, self.lr, self.net = shift, lr, network(8)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return cross_entropy(self.net(batch[0]), batch[0].argmax(1)) + self.shift

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


@pytest.mark.parametrize("lr", [1e-4, 1e-2, 1.0])
def test_the_search_finds_the_same_rate_from_any_zero(lr: float) -> None:
    """Positive, negative, and far from zero: float32 keeps four digits of what is compared then."""
    factors = []
    for shift in (0.0, -2.5, 7.0, 100.0):
        seed_everything(0, verbose=False)
        control = LearningRateController(verbose=False, find_lr=True)
        trainer(control, max_epochs=EPOCHS).fit(Classifier(shift, lr), *loaders())
        first = [decision.factor for decision in control.decisions if decision.action == "explore"]
        factors.append(first[0] if first else 1.0)
    assert factors == pytest.approx([factors[0]] * 4, rel=0.1)
