"""Tutorial: a run that overfits. The docs build executes it and shows it as a page; it also runs as a program."""

# %% [markdown]
# # Tutorial: a run that overfits
#
# You train a small network that overfits, look at what the callback reports, let it act, and read the report. It takes
# a minute on a CPU. The page is executed each time the documentation is built, so its output is that of this version.
# To follow along, install the extra `plot` and scikit-learn.
#
# ## A model and data
#
# The digits of scikit-learn, with a third of the training labels replaced at random: after some epochs the network
# learns the wrong labels by heart, and the validation loss rises.

# %%
import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

digits = load_digits()
generator = torch.Generator().manual_seed(0)
order = torch.randperm(len(digits.target), generator=generator)
images = torch.tensor(digits.data, dtype=torch.float32)[order] / 16
labels = torch.tensor(digits.target)[order]
wrong = torch.rand(400, generator=generator) < 0.33
noisy = torch.where(wrong, torch.randint(0, 10, (400,), generator=generator), labels[:400])
training = DataLoader(TensorDataset(images[:400], noisy), 50, shuffle=True)
validation = DataLoader(TensorDataset(images[400:], labels[400:]), 1397)


class Classifier(pl.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", F.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def train(*callbacks, lr=1e-2, epochs=60):
    pl.seed_everything(0, verbose=False)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=".",
        logger=pl.loggers.CSVLogger("."),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Classifier(lr), training, validation)
    return float(trainer.callback_metrics["val_loss"])


# %% [markdown]
# ## First look: change nothing
#
# With `dry_run=True` the callback decides and records, but changes nothing: the run is bit-identical to one without it.

# %%
from lightning_lr import LearningRateController

watcher = LearningRateController(monitor="val_loss", dry_run=True, verbose=False)
print(f"final validation loss: {train(watcher):.3f}")

# %%
watcher.plot()
# %% [markdown]
# The validation loss falls for some epochs and rises from then on, while the training loss goes on falling: the model
# overfits. Each mark is a decision that would have been made. The first of them as sentences, with condition, evidence
# and action:

# %%
for decision in watcher.decisions[:3]:
    print(decision)

# %% [markdown]
# ## Let it act
#
# Without `dry_run` the weights and the optimizer state of the best check are restored, and training goes on from there
# at a lower learning rate.

# %%
controller = LearningRateController(monitor="val_loss", verbose=False)
print(f"final validation loss: {train(controller):.3f}")

# %%
controller.plot()
# %%
for decision in controller.decisions:
    print(f"epoch {decision.epoch}: {decision.condition} -> {decision.action}, ", end="")
    print(", ".join(f"{decision.old_lr[name]:.3g} -> {rate:.3g}" for name, rate in decision.new_lr.items()))

# %% [markdown]
# ## What to do with it
#
# The report says what became of the run, what each decision brought, and gives advice. In a terminal it is
# `lightning-lr report lightning_logs/version_1`:

# %%
import os
import subprocess
import sys

report = [sys.executable, "-m", "lightning_lr.offline.cli", "report", "lightning_logs/version_1"]
shown = subprocess.run(report, capture_output=True, text=True, env={**os.environ, "COLUMNS": "100"})
print(shown.stdout.rstrip() or shown.stderr)

# %% [markdown]
# - A lower learning rate limits the damage of overfitting; it does not remove its cause. Here a third of the labels is
#   wrong: clean data, more data, or regularization (weight decay, dropout, augmentation) helps more.
# - To see what other settings would have decided in the first run, without training again:
#   `lightning-lr replay lightning_logs/version_0 --variant 'policy=conservative'` ([replay](../replay.md)).
# - If a decision surprises you: [why was my learning rate (not) reduced?](../how-to/why-did-it-not-reduce.md)
