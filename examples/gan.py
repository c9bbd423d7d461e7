"""A GAN: two optimizers, each with a controller of its own.

    python examples/gan.py

An adversarial loss is no measure of quality, since it rises if the other network improves. So each controller monitors
a metric that means the same at every epoch: how far the generated samples are from the data, and the critic's accuracy.
docs/how-to/two-optimizers.md explains the choices.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController

NOISE = 8


def network(inputs: int, outputs: int) -> nn.Module:
    """A plain multilayer perceptron."""
    return nn.Sequential(
        nn.Linear(inputs, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, outputs)
    )


class GAN(pl.LightningModule):
    """Learns a ring of points in the plane."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.lr = lr
        self.generator, self.critic = network(NOISE, 2), network(2, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        (real,) = batch
        generator, critic = self.optimizers()
        fake = self.generator(torch.randn(len(real), NOISE, device=self.device))

        critic.zero_grad()
        loss = adversarial(self.critic(real), 1.0) + adversarial(self.critic(fake.detach()), 0.0)
        self.manual_backward(loss)
        critic.step()

        generator.zero_grad()
        self.manual_backward(adversarial(self.critic(fake), 1.0))
        generator.step()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        (real,) = batch
        noise = torch.randn(len(real), NOISE, generator=torch.Generator().manual_seed(0)).to(self.device)
        fake = self.generator(noise)
        right = torch.cat([self.critic(real) > 0, self.critic(fake) < 0])
        self.log("val_distance", energy_distance(real, fake))
        self.log("val_accuracy", right.float().mean())

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        networks = (self.generator, self.critic)
        return [torch.optim.Adam(network.parameters(), lr=self.lr, betas=(0.5, 0.9)) for network in networks]


def adversarial(logits: Tensor, label: float) -> Tensor:
    """The loss of a critic that should answer with this label."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def energy_distance(real: Tensor, fake: Tensor) -> Tensor:
    """0 if both come from the same distribution."""
    between, within = (
        torch.cdist(real, fake).mean(),
        (torch.cdist(real, real).mean() + torch.cdist(fake, fake).mean()) / 2,
    )
    return between - within


def loader(size: int, seed: int) -> DataLoader:
    """Points on a ring."""
    generator = torch.Generator().manual_seed(seed)
    angles = 2 * torch.pi * torch.rand(size, generator=generator)
    points = torch.stack([angles.cos(), angles.sin()], 1) + 0.05 * torch.randn(size, 2, generator=generator)
    return DataLoader(TensorDataset(points), 128, shuffle=seed == 1)


def main() -> None:
    """Train, and print what became of the two learning rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--folder", type=Path, default=Path("runs/gan"))
    options = parser.parse_args()

    pl.seed_everything(0)
    generator = LearningRateController("val_distance", policy="conservative", param_groups=[0], name="generator")
    critic = LearningRateController("val_accuracy", "max", policy="conservative", param_groups=[1], name="critic")
    trainer = pl.Trainer(
        max_epochs=options.epochs,
        accelerator="auto",
        default_root_dir=options.folder,
        logger=TensorBoardLogger(options.folder, name=""),
        callbacks=[generator, critic],
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    trainer.fit(GAN(options.lr), loader(1024, seed=1), loader(512, seed=2))
    print(f"distance to the data {float(trainer.callback_metrics['val_distance']):.3f}")
    print("scale:", {**generator.scale, **critic.scale})


if __name__ == "__main__":
    main()
