"""Lightning Fabric: a loop of your own, with the controller as a callback.

Few digits, 40 % of them with wrong labels, so that the network overfits. The controller watches, reduces the learning
rate and restores the best weights; it does not search the learning rate. TensorBoard reads the folder ``runs``.
"""

from __future__ import annotations

import argparse

import torch
from lightning.fabric import Fabric, seed_everything
from lightning.fabric.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import FabricLearningRateController


def loaders() -> list[DataLoader]:
    digits = load_digits()
    inputs, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    order = torch.randperm(len(labels))
    inputs, labels = inputs[order], labels[order]
    wrong = torch.rand(500) < 0.4
    labels[:500][wrong] = torch.randint(0, 10, (int(wrong.sum()),))
    training, validation = TensorDataset(inputs[:500], labels[:500]), TensorDataset(inputs[1000:], labels[1000:])
    return [DataLoader(training, 32, shuffle=True), DataLoader(validation, 500)]


def main(epochs: int = 30, folder: str = "runs", resume: str | None = None) -> FabricLearningRateController:
    seed_everything(0)
    training, validation = loaders()
    controller = FabricLearningRateController("val_loss")
    fabric = Fabric(accelerator="cpu", callbacks=[controller], loggers=TensorBoardLogger(folder, name="fabric"))
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    model, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
    training, validation = fabric.setup_dataloaders(training, validation)
    first = 0
    if resume is not None:
        state = {"model": model, "optimizer": optimizer}
        rest = fabric.load(resume, state)
        controller.load_state_dict(rest["controller"])
        first = rest["epoch"]
    fabric.call("on_train_start", fabric=fabric, model=model, optimizers=optimizer)
    for epoch in range(first, epochs):
        model.train()
        for inputs, labels in training:
            loss = torch.nn.functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            fabric.call("on_train_batch_end", loss=loss)
        model.eval()
        with torch.no_grad():
            losses = [torch.nn.functional.cross_entropy(model(inputs), labels) for inputs, labels in validation]
        fabric.call("on_validation_end", metrics={"val_loss": torch.stack(losses).mean()})
        fabric.call("on_train_epoch_end")
        kept = {"model": model, "optimizer": optimizer, "epoch": epoch + 1, "controller": controller.state_dict()}
        fabric.save(f"{folder}/last.ckpt", kept)
        if controller.should_stop:
            break
    fabric.call("on_train_end")
    return controller


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folder", default="runs")
    parser.add_argument("--resume", help="a checkpoint to go on from")
    for decision in main(**vars(parser.parse_args())).decisions:
        print(decision)
