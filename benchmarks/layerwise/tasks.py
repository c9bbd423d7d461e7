"""The tasks: those of benchmarks/any_start at a rate that is known to work, and a net that is badly scaled."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn

from benchmarks.any_start import data, models
from benchmarks.any_start.data import Data
from benchmarks.any_start.tasks import FASHION, Task

DEPTH, SPREAD = 8, 10.0


def scaled_perceptron(loaded: Data, spread: float = SPREAD) -> nn.Module:
    """Eight hidden layers whose weights are in turn ``spread`` times too large and too small.

    A ReLU net computes the same function at the start whatever the spread: only its training suffers.
    """
    net = models.perceptron(loaded, width=64, depth=DEPTH)
    layers = [module for module in net.modules() if isinstance(module, nn.Linear)]
    scales = [spread if at % 2 == 0 else 1 / spread for at in range(len(layers))]
    scales[-1] /= math.prod(scales)
    with torch.no_grad():
        for layer, scale in zip(layers, scales, strict=True):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu").mul_(scale)
            layer.bias.zero_()
    return net


def well_scaled_perceptron(loaded: Data) -> nn.Module:
    """The same net, as it should be."""
    return scaled_perceptron(loaded, spread=1.0)


def _both(task: Task, sgd: float, adamw: float) -> list[Task]:
    return [
        replace(task, name=f"{task.name}-sgd", optimizer="sgd", lr=sgd, weight_decay=5e-4),
        replace(task, name=f"{task.name}-adamw", optimizer="adamw", lr=adamw, weight_decay=0.01),
    ]


TASKS = (
    *_both(Task("badly-scaled-mlp", data.digits, scaled_perceptron, "", 0, 20, 32), 0.001, 1e-3),
    *_both(Task("deep-mlp", data.digits, well_scaled_perceptron, "", 0, 20, 32), 0.03, 1e-3),
    *_both(Task("finetune", data.fashion_half, models.pretrained_convnet, "", 0, 6, 64, needs=FASHION), 0.03, 1e-3),
    *_both(Task("fashion-cnn", data.fashion, models.plain_convnet, "", 0, 4, 64, needs=FASHION), 0.1, 3e-3),
    *_both(
        Task(
            "shakespeare",
            data.shakespeare,
            models.character_model,
            "",
            0,
            4,
            16,
            samples=1280,
            needs="tinyshakespeare.txt.gz",
        ),
        0.3,
        3e-3,
    ),
)
"""The rates are the best of a grid with ratio 3 without layers, for the MLPs and roughly so for the others."""
