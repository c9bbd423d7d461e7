"""The two networks of the runs on a GPU, small and of the usual kinds; in torch alone: a lent machine has no more."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn


class Block(nn.Module):
    """Two convolutions and a way around them (He et al. 2016)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(*_conv(before, after, 3, stride), nn.ReLU(), *_conv(after, after, 3, 1))
        self.around = (
            nn.Sequential(*_conv(before, after, 1, stride)) if stride > 1 or before != after else nn.Identity()
        )

    def forward(self, images: torch.Tensor) -> Any:
        return nn.functional.relu(self.main(images) + self.around(images))


def _conv(before: int, after: int, size: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(before, after, size, stride, size // 2, bias=False), nn.BatchNorm2d(after)


def resnet18(classes: int = 10) -> nn.Module:
    """Four stages of two blocks.

    >>> sum(parameter.numel() for parameter in resnet18(1000).parameters())     # as in the paper: 11.7 million
    11689512
    """
    widths = [64, 64, 128, 256, 512]
    stages = [
        block
        for stage, (before, after) in enumerate(pairwise(widths))
        for block in (Block(before, after, 2 if stage else 1), Block(after, after, 1))
    ]
    stem = [*_conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


class GPT(nn.Module):
    """Four layers of width 256: small, so that the host's part of a step is large."""

    def __init__(self, words: int = 256, width: int = 256) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers, self.head = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Linear(width, words)

    def forward(self, tokens: torch.Tensor) -> Any:
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], device=tokens.device)
        return self.head(self.layers(self.words(tokens), mask=mask, is_causal=True))
