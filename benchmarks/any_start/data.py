"""The data sets, each cut into train, validation and test once and for all: a seed changes the run, never the split."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


class Rows(Dataset[Any]):
    """Tensors whose first dimension counts examples; a list of indices gives a whole batch, without a loop."""

    def __init__(self, *columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(column[index] for column in self.columns)


class Windows(Dataset[Any]):
    """Every stretch of ``length`` characters of a text, with the characters that follow."""

    def __init__(self, text: Tensor, length: int, starts: Tensor | None = None) -> None:
        self.text, self.length = text, length
        self.starts = torch.arange(len(text) - length) if starts is None else starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor]:
        stretch = self.text[self.starts[index][..., None] + torch.arange(self.length + 1)]
        return stretch[..., :-1], stretch[..., 1:]


@dataclass
class Data:
    """Three splits; ``test`` is looked at once, when the run is over.

    Attributes:
        train: what the optimizer sees.
        validation: what the methods may see.
        test: what gives the score.
        summary: what a model has to know (numbers of features and classes, the graph).
    """

    train: Dataset[Any]
    validation: Dataset[Any]
    test: Dataset[Any]
    summary: dict[str, Any] = field(default_factory=dict)


def _cut(rows: Sequence[Tensor], parts: Sequence[Tensor], **summary: Any) -> Data:
    train, validation, test = (Rows(*(column[part] for column in rows)) for part in parts)
    return Data(train, validation, test, summary)


def _shuffled(n: int, *sizes: int) -> list[Tensor]:
    """The first ``sizes`` of one fixed order, and the rest."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(123))
    return list(order.split([*sizes, n - sum(sizes)]))  # type: ignore[no-untyped-call]


def _standard(values: Any, train: Tensor) -> Tensor:
    """To mean 0 and deviation 1, as measured on the training part alone."""
    tensor = torch.as_tensor(np.asarray(values), dtype=torch.float32)
    mean, deviation = tensor[train].mean(0), tensor[train].std(0)
    return (tensor - mean) / torch.where(deviation > 0, deviation, 1)


def digits(folder: Path | None, wrong: float = 0.0) -> Data:
    """8×8 digits of scikit-learn; a share of the *training* labels may be random."""
    from sklearn.datasets import load_digits

    source = load_digits()
    images, labels = torch.tensor(source.data, dtype=torch.float32) / 16, torch.tensor(source.target)
    parts = _shuffled(len(labels), 1000, 397)
    generator = torch.Generator().manual_seed(7)
    if wrong:
        hit = parts[0][torch.rand(len(parts[0]), generator=generator) < wrong]
        labels[hit] = torch.randint(0, 10, (len(hit),), generator=generator)
    return _cut((images, labels), parts, features=64, classes=10)


def noisy_digits(folder: Path | None) -> Data:
    """Digits, 30 % of the training labels wrong."""
    return digits(folder, wrong=0.3)


def small_wine(folder: Path | None) -> Data:
    """The 178 wines of scikit-learn: three classes."""
    from sklearn.datasets import load_wine

    source = load_wine()
    parts = _shuffled(len(source.target), 90, 44)
    return _cut((_standard(source.data, parts[0]), torch.tensor(source.target)), parts, features=13, classes=3)


def small_digits(folder: Path | None) -> Data:
    """The first 200 of the noisy digits to train on: a model learns them by heart."""
    whole = noisy_digits(folder)
    assert isinstance(whole.train, Rows)
    return Data(Rows(*(column[:200] for column in whole.train.columns)), whole.validation, whole.test, whole.summary)


def cancer(folder: Path | None) -> Data:
    """Breast cancer of scikit-learn: 569 patients, two classes."""
    from sklearn.datasets import load_breast_cancer

    source = load_breast_cancer()
    parts = _shuffled(len(source.target), 300, 120)
    return _cut((_standard(source.data, parts[0]), torch.tensor(source.target)), parts, features=30, classes=2)


def _images(folder: Path | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    assert folder is not None
    source = np.load(folder / "fashion_mnist_20k_5k.npz")
    images = [
        (torch.tensor(source[name], dtype=torch.float32)[:, None] / 255 - 0.286) / 0.353
        for name in ("x_train", "x_test")
    ]
    labels = [torch.tensor(source[name]).long() for name in ("y_train", "y_test")]
    return images[0], labels[0], images[1], labels[1]


def fashion(folder: Path | None) -> Data:
    """8,000 images to train on, 2,000 for validation; the test images are those of the data set."""
    images, labels, test_images, test_labels = _images(folder)
    train, validation = slice(0, 8000), slice(8000, 10000)
    return Data(
        Rows(images[train], labels[train]),
        Rows(images[validation], labels[validation]),
        Rows(test_images[:4000], test_labels[:4000]),
        {"classes": 10},
    )


def fashion_half(folder: Path | None, first: bool = False) -> Data:
    """Half of the classes: 0 to 4 to pretrain on, 5 to 9 (counted from 0 again) to move to."""
    images, labels, test_images, test_labels = _images(folder)
    lowest = 0 if first else 5
    keep = (labels >= lowest) & (labels < lowest + 5)
    keep_test = (test_labels >= lowest) & (test_labels < lowest + 5)
    images, labels = images[keep], labels[keep] - lowest
    size = 8000 if first else 2560
    return Data(
        Rows(images[:size], labels[:size]),
        Rows(images[size : size + 1000], labels[size : size + 1000]),
        Rows(test_images[keep_test], test_labels[keep_test] - lowest),
        {"classes": 5, "folder": folder},
    )


def shakespeare(folder: Path | None, length: int = 64) -> Data:
    """Characters: the first 80 % of the text, the next 10 %, and the last 10 %; fixed windows for the last two."""
    assert folder is not None
    with gzip.open(folder / "tinyshakespeare.txt.gz", "rt") as file:
        text = file.read()
    alphabet = {character: i for i, character in enumerate(sorted(set(text)))}
    codes = torch.tensor([alphabet[character] for character in text])
    train, validation, test = codes.split(  # type: ignore[no-untyped-call]
        [int(0.8 * len(codes)), int(0.1 * len(codes)), len(codes) - int(0.9 * len(codes))]
    )
    generator = torch.Generator().manual_seed(11)

    def some(part: Tensor, count: int) -> Windows:
        return Windows(part, length, torch.randint(0, len(part) - length, (count,), generator=generator))

    return Data(
        Windows(train, length), some(validation, 256), some(test, 512), {"classes": len(alphabet), "length": length}
    )


def housing(folder: Path | None) -> Data:
    """California: the median value of a house in a district, in standard units."""
    assert folder is not None
    source = np.load(folder / "california_housing.npz")
    parts = _shuffled(len(source["y"]), 12000, 4000)
    known = np.where(np.isnan(source["X"]), np.nanmean(source["X"], 0), source["X"])
    near = torch.nn.functional.one_hot(torch.tensor(source["cat"]).long(), 5).float()
    features = torch.cat([_standard(known, parts[0]), near], 1)
    return _cut((features, _standard(source["y"], parts[0])), parts, features=features.shape[1])


def bikes(folder: Path | None) -> Data:
    """Bikes rented in an hour (logarithm). Whole weeks go to one split: neighbouring hours are nearly copies."""
    assert folder is not None
    source = np.load(folder / "bike_sharing_hour.npz")
    week = torch.arange(len(source["y"])) // 168
    of_week = _shuffled(int(week.max()) + 1, 70, 17)
    parts = [torch.isin(week, weeks).nonzero()[:, 0] for weeks in of_week]
    hour = torch.nn.functional.one_hot(torch.tensor(source["X"][:, 3]).long(), 24).float()
    features = torch.cat([_standard(source["X"], parts[0]), hour], 1)
    return _cut((features, _standard(np.log1p(source["y"]), parts[0])), parts, features=features.shape[1])


def red_wine(folder: Path | None) -> Data:
    """The quality of a wine, in standard units: little data, much noise."""
    assert folder is not None
    source = np.load(folder / "wine_quality_red.npz")
    parts = _shuffled(len(source["y"]), 900, 349)
    features = _standard(source["X"], parts[0])
    return _cut((features, _standard(source["y"], parts[0])), parts, features=features.shape[1])


def cora(folder: Path | None) -> Data:
    """Papers that cite each other, 140 of them labelled. The batch is which nodes count; the model holds the graph."""
    assert folder is not None
    source = np.load(folder / "cora.npz")
    labels = torch.tensor(source["y"]).long()
    parts = [torch.tensor(source[name]).long() for name in ("idx_train", "idx_val", "idx_test")]
    counts = torch.tensor(np.diff(source["feat_indptr"])).long()
    rows = torch.repeat_interleave(torch.arange(len(labels)), counts)
    columns = torch.tensor(source["feat_indices"].astype(np.int64))
    words = torch.sparse_coo_tensor(
        torch.stack([rows, columns]),
        1 / counts[rows].float(),
        tuple(int(n) for n in source["feat_shape"]),
        check_invariants=True,
    ).coalesce()
    edges = torch.tensor(source["edges"]).long().reshape(-1, 2).T
    n = len(labels)
    both = torch.cat([edges, edges.flip(0), torch.arange(n).expand(2, n)], 1)
    degree = torch.bincount(both[0], minlength=n).float()
    weights = (degree[both[0]] * degree[both[1]]).rsqrt()
    graph = torch.sparse_coo_tensor(both, weights, (n, n), check_invariants=True).coalesce()
    return _cut((torch.arange(n), labels), parts, features=int(words.shape[1]), classes=7, words=words, graph=graph)
