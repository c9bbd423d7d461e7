"""The tasks: nothing to download, an epoch takes milliseconds; some runs learn on, some stall, some overfit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.any_start import data, models
from benchmarks.any_start.data import Data
from benchmarks.any_start.tasks import Task

EPOCHS = (10, 20, 40, 80)
STARTS = (1 / 3, 1.0, 3.0, 10.0)
"""Multiples of the rate that an experienced user would write down."""


def _rows(features: Any, targets: Any, train: int, validation: int, classes: int | None = None) -> Data:
    parts = data._shuffled(len(features), train, validation)
    inputs = data._standard(features, parts[0])
    outputs = torch.tensor(targets) if classes else data._standard(targets, parts[0])
    cut = data._cut((inputs, outputs), parts, features=inputs.shape[1])
    cut.summary |= {"classes": classes} if classes else {}
    return cut


def diabetes(folder: Path | None) -> Data:
    """442 patients of scikit-learn, half of the variance cannot be explained."""
    from sklearn.datasets import load_diabetes

    source = load_diabetes()
    return _rows(source.data, source.target, train=200, validation=100)


def friedman(folder: Path | None) -> Data:
    """A smooth function of five of ten inputs, with noise."""
    from sklearn.datasets import make_friedman1

    features, targets = make_friedman1(2400, noise=1.0, random_state=0)
    return _rows(features, targets, train=400, validation=1000)


def flipped(folder: Path | None) -> Data:
    """Four classes in clusters, a tenth of the labels at random, in all splits."""
    from sklearn.datasets import make_classification

    features, targets = make_classification(
        2600, 20, n_informative=8, n_classes=4, n_clusters_per_class=2, flip_y=0.1, random_state=0
    )
    return _rows(features, targets, train=600, validation=1000, classes=4)


def images(folder: Path | None) -> Data:
    """The digits as images, 400 of them to train on."""
    whole = data.digits(folder)
    train, validation, test = (_as_images(part) for part in (whole.train, whole.validation, whole.test))
    return Data(data.Rows(*(column[:400] for column in train.columns)), validation, test, {"classes": 10})


def _as_images(part: Any) -> data.Rows:
    return data.Rows(part.columns[0].unflatten(-1, (1, 8, 8)), part.columns[1])


def narrow(loaded: Data) -> nn.Module:
    """Two hidden layers."""
    return models.perceptron(loaded, width=32)


def deep(loaded: Data) -> nn.Module:
    """Four hidden layers."""
    return models.perceptron(loaded, width=32, depth=4)


def convnet(loaded: Data) -> nn.Module:
    """Three convolutions."""
    return models.ConvNet(loaded.summary["classes"], norm=False, width=6)


TASKS = (
    Task("wine-sgd", data.small_wine, narrow, "sgd", 0.03, 80, 16),
    Task("cancer-adamw", data.cancer, narrow, "adamw", 1e-3, 80, 32, 0.01),
    Task("diabetes-adamw", diabetes, narrow, "adamw", 1e-3, 80, 20, 0.01, regression=True),
    Task("friedman-sgd", friedman, narrow, "sgd", 0.01, 80, 25, regression=True),
    Task("flipped-adamw", flipped, narrow, "adamw", 1e-3, 80, 32, 0.01),
    Task("flipped-deep-sgd", flipped, deep, "sgd", 0.03, 80, 50),
    Task("digits-sgd", data.digits, narrow, "sgd", 0.05, 80, 50),
    Task("few-noisy-digits-adamw", data.small_digits, models.narrow_perceptron, "adamw", 1e-3, 80, 20, 0.01),
    Task("noisy-digits-sgd", data.noisy_digits, models.narrow_perceptron, "sgd", 0.03, 80, 50),
    Task("images-adamw", images, convnet, "adamw", 3e-3, 80, 40, 0.01),
)
