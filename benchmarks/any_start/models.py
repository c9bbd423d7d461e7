"""The models: small, so that a run takes seconds, and of the kinds that behave differently under a wrong rate."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.any_start.data import Data, Rows, fashion_half


def perceptron(data: Data, width: int = 128, depth: int = 2) -> nn.Module:
    """Linear layers and ReLU; one output where there are no classes."""
    sizes = [data.summary["features"]] + [width] * depth
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, data.summary.get("classes", 1)))


def narrow_perceptron(data: Data) -> nn.Module:
    """Half as wide."""
    return perceptron(data, width=64)


def deep_perceptron(data: Data) -> nn.Module:
    """Three hidden layers: enough to learn the noise by heart."""
    return perceptron(data, depth=3)


def normed_perceptron(data: Data, width: int = 64, depth: int = 4) -> nn.Module:
    """With batch norm before each ReLU."""
    sizes = [data.summary["features"]] + [width] * depth
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, data.summary["classes"]))


class Residual(nn.Module):
    """A step of a deep network: layer norm first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.inner(hidden)  # type: ignore[no-any-return]


def deep_layer_norm(data: Data, width: int = 64, depth: int = 10) -> nn.Module:
    """Twenty linear layers."""
    ends = nn.Linear(data.summary["features"], width), nn.Linear(width, data.summary["classes"])
    return nn.Sequential(ends[0], *(Residual(width) for _ in range(depth)), nn.LayerNorm(width), ends[1])


class Recurrent(nn.Module):
    """Reads an image of 8 × 8 line by line."""

    def __init__(self, classes: int, width: int = 48) -> None:
        super().__init__()
        self.body, self.head = nn.GRU(8, width, batch_first=True), nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden, _ = self.body(images.unflatten(-1, (8, 8)))
        return self.head(hidden[:, -1])  # type: ignore[no-any-return]


def recurrent(data: Data) -> nn.Module:
    """For the digits."""
    return Recurrent(data.summary["classes"])


class ConvNet(nn.Module):
    """Three convolutions of stride 2, the mean over the image, one linear layer."""

    def __init__(self, classes: int, norm: bool, width: int = 16) -> None:
        super().__init__()
        sizes = [1, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after) if norm else nn.Identity(), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images).mean((2, 3)))  # type: ignore[no-any-return]


def plain_convnet(data: Data) -> nn.Module:
    """Without normalization a rate too high blows up."""
    return ConvNet(data.summary["classes"], norm=False)


def normed_convnet(data: Data) -> nn.Module:
    """With batch norm the loss never blows up under SGD, however wrong the rate."""
    return ConvNet(data.summary["classes"], norm=True)


class CharacterModel(nn.Module):
    """A small transformer that predicts the next character."""

    def __init__(self, classes: int, length: int, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length), persistent=False)

    def forward(self, text: Tensor) -> Tensor:
        hidden = self.layers(self.embedding(text) + self.position, mask=self.mask, is_causal=True)
        return self.head(self.norm(hidden))  # type: ignore[no-any-return]


def character_model(data: Data) -> nn.Module:
    """For the alphabet and the window of this text."""
    return CharacterModel(data.summary["classes"], data.summary["length"])


class GraphConvNet(nn.Module):
    """Two graph convolutions (Kipf & Welling) over the whole graph; the answer for the nodes that were asked for."""

    def __init__(self, words: Tensor, graph: Tensor, classes: int, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Parameter(nn.init.xavier_uniform_(torch.empty(words.shape[1], width)))
        self.second = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width, classes)))
        self.bias = nn.Parameter(torch.zeros(classes))
        self._constant = (words, graph)  # not buffers: a checkpoint need not carry the data

    def forward(self, nodes: Tensor) -> Tensor:
        words, graph = self._constant
        if self.training:
            kept = F.dropout(words.values(), 0.5)
            words = torch.sparse_coo_tensor(
                words.indices(), kept, words.shape, is_coalesced=True, check_invariants=False
            )
        hidden = F.relu(torch.sparse.mm(graph, torch.sparse.mm(words, self.first)))
        hidden = F.dropout(hidden, 0.5, self.training)
        return (torch.sparse.mm(graph, hidden @ self.second) + self.bias)[nodes]  # type: ignore[no-any-return]


def graph_convnet(data: Data) -> nn.Module:
    """For this graph."""
    return GraphConvNet(data.summary["words"], data.summary["graph"], data.summary["classes"])


def pretrained_convnet(data: Data) -> nn.Module:
    """The body learnt the other half of the classes; the head is new."""
    model = ConvNet(data.summary["classes"], norm=True)
    path = Path(tempfile.gettempdir()) / f"lightning_lr-any_start-{torch.__version__}" / "pretrained.pt"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        with torch.random.fork_rng(devices=[]):
            torch.save(_pretrain(data.summary["folder"]), fresh)
        fresh.replace(path)  # two that pretrain at once write the same
    model.body.load_state_dict(torch.load(path, weights_only=True))
    return model


def _pretrain(folder: Path, epochs: int = 6, batch: int = 64) -> dict[str, Tensor]:
    """AdamW at a rate that is known to work, linear to zero; once, in plain torch: it is no part of the benchmark."""
    torch.manual_seed(0)
    train = fashion_half(folder, first=True).train
    assert isinstance(train, Rows)
    model = ConvNet(5, norm=True)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    steps = epochs * (len(train) // batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(epochs):
        for index in torch.randperm(len(train))[: steps // epochs * batch].split(batch):  # type: ignore[no-untyped-call]
            images, labels = train[index]
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return model.body.state_dict()
