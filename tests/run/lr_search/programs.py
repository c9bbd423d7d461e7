"""Random programs of a training run: what a user's module, batches and callbacks do beside computing a loss."""

from __future__ import annotations

import copy
import itertools
import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from tests.helpers.scripted import QUIET

HABITS = (
    "pops the labels",
    "normalizes in place",
    "returns a dict",
    "skips batches",
    "returns infinity",
    "counts",
    "keeps lists",
    "keeps a tensor",
    "draws numbers",
    "owns generators",
    "uses metrics",
    "averages weights",
    "replaces a buffer",
    "has a step on the instance",
    "logs",
    "stops the run",
    "writes gradients",
    "has a step with enclosed variables",
    "counts on its class",
    "keeps lists of its file",
    "calls a function that counts",
)
"""What a module may do in ``training_step``; each leaves something behind."""


CALLS: list[int] = []
TOTAL = 0


def counted() -> int:
    """Counts its calls in this file."""
    global TOTAL
    TOTAL += 1
    return TOTAL


class Examples(Dataset):
    """Dicts, as tokenizers make them."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(count, 6, generator=generator)
        self.labels = self.inputs[:, :4].argmax(1)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"inputs": self.inputs[index], "labels": self.labels[index]}


class Average(Callback):
    """A user's own average of the weights, in a dict."""

    def __init__(self) -> None:
        self.shadow: dict[str, torch.Tensor] = {}
        self.batches = Counter()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.shadow = {name: weight.detach().clone() for name, weight in pl_module.named_parameters()}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.batches["seen"] += 1
        for name, weight in pl_module.named_parameters():
            self.shadow[name].lerp_(weight.detach(), 0.1)


class Program(LightningModule):
    """A small classifier with habits."""

    calls_of_class = 0
    last_of_class: ClassVar[deque[int]] = deque(maxlen=3)

    def __init__(self, habits: Sequence[str], lr: float = 0.05, optimizer: str = "AdamW", dropout: float = 0.2) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 4))
        self.habits, self.lr, self.optimizer = frozenset(habits), lr, optimizer
        self.count, self.weight_of_kl = 0, 0.0
        self.seen: list[int] = []
        self.table: dict[str, Any] = {"last": deque(maxlen=3), "sizes": set()}
        self.running = torch.zeros(3)
        self.register_buffer("queue", torch.zeros(4))
        self.numbers, self.python = np.random.default_rng(3), random.Random(4)
        self.array = np.zeros(2)
        if "uses metrics" in habits:
            self.accuracy, self.mean = MulticlassAccuracy(4), MeanMetric()
        if "averages weights" in habits:
            self.target = copy.deepcopy(self.net).requires_grad_(False)
        if "has a step on the instance" in habits:
            plain, calls = self.training_step, [0]
            self.calls = calls

            def on_instance(batch: Any, batch_idx: int) -> Any:
                calls[0] += 1
                return plain(batch, batch_idx)

            self.training_step = on_instance  # type: ignore[method-assign]
        if "has a step with enclosed variables" in habits:
            inner, number = self.training_step, 0

            def enclosed(batch: Any, batch_idx: int) -> Any:
                nonlocal number
                number += 1
                return inner(batch, batch_idx)

            self.training_step = enclosed  # type: ignore[method-assign]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        does = self.habits.__contains__
        inputs = batch["inputs"]
        labels = batch.pop("labels") if does("pops the labels") else batch["labels"]
        if does("normalizes in place"):
            inputs.sub_(inputs.mean()).mul_(0.5)
        loss = nn.functional.cross_entropy(self.net(inputs), labels)
        if does("counts"):
            self.count += 1
            self.weight_of_kl = min(1.0, self.weight_of_kl + 0.1)
            loss = loss + self.weight_of_kl * self.net[0].weight.square().mean()
        if does("keeps lists"):
            self.seen.append(len(labels))
            self.table["last"].append(batch_idx)
            self.table["sizes"].add(len(labels))
            self.table["new"] = {"nested": [self.count]}
        if does("counts on its class"):
            type(self).calls_of_class += 1
            self.last_of_class.append(batch_idx)
            loss = loss * (1 + 0.001 * self.calls_of_class)
        if does("keeps lists of its file"):
            CALLS.append(batch_idx)
            loss = loss * (1 + 0.001 * len(CALLS))
        if does("calls a function that counts"):
            loss = loss * (1 + 0.001 * counted())
        if does("keeps a tensor"):
            self.running[self.count % 3] += 1
            self.previous = inputs.detach()
        if does("draws numbers"):
            loss = loss + 0.01 * random.random() + 0.01 * float(np.random.rand()) + 0.01 * torch.rand(())
        if does("owns generators"):
            self.array += self.numbers.random(2)
            loss = loss + 0.01 * self.python.random()
        if does("uses metrics"):
            self.accuracy(self.net(inputs), labels)
            self.mean.update(loss.detach())
            self.log("accuracy", self.accuracy, on_step=False, on_epoch=True)
        if does("averages weights"):
            for ours, theirs in zip(self.target.parameters(), self.net.parameters(), strict=True):
                ours.data.lerp_(theirs.data, 0.01)
        if does("replaces a buffer"):
            self.queue = torch.cat([self.queue[1:], loss.detach()[None]])
        if does("logs"):
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            self.log_dict({"a": loss, "b": 1.0})
            for logger in self.loggers:
                logger.log_metrics({"direct": 1.0}, step=self.global_step)
        if does("stops the run") and self.count > 10**6:
            self.trainer.should_stop = True
        if does("writes gradients"):
            for weight in self.net.parameters():
                weight.grad = None
        if does("skips batches") and batch_idx % 3 == 1:
            return None
        if does("returns infinity") and batch_idx % 4 == 3:
            loss = loss * float("inf")
        return {"loss": loss, "inputs": inputs} if does("returns a dict") else loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        for weight in self.parameters():  # an infinite loss leaves no trace of its own
            if weight.grad is not None:
                weight.grad.nan_to_num_(0.0, 0.0, 0.0)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch["inputs"]), batch["labels"]))

    def configure_optimizers(self) -> Any:
        return getattr(torch.optim, self.optimizer)(self.net.parameters(), lr=self.lr)


def fit(module: LightningModule, *callbacks: Any, **options: Any) -> Trainer:
    """Train on 20 batches an epoch."""
    global TOTAL
    TOTAL, Program.calls_of_class = 0, 0
    CALLS.clear()
    Program.last_of_class.clear()
    settings = {**QUIET, "max_epochs": 3, "callbacks": list(callbacks), **options}
    torch.manual_seed(2)
    random.seed(2)
    np.random.seed(2)
    trainer = Trainer(**settings)
    train = DataLoader(Examples(320, 5), 16, shuffle=True)
    trainer.fit(module, train, DataLoader(Examples(64, 6), 16))
    return trainer


def dumped(value: Any, seen: tuple[int, ...] = ()) -> Any:
    """Everything that Python shows of a value, as plain things that can be compared."""
    if id(value) in seen:
        return "again"
    inside = (*seen, id(value))
    if isinstance(value, torch.Tensor):
        return "tensor", str(value.dtype), value.detach().double().tolist()
    if isinstance(value, np.ndarray):
        return "array", value.tolist()
    if isinstance(value, Mapping):
        return {str(key): dumped(item, inside) for key, item in value.items()}
    if isinstance(value, (list, tuple, deque)):
        return [dumped(item, inside) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(repr, value))
    if isinstance(value, np.random.Generator):
        return dumped(value.bit_generator.state)
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, (int, float, str, bool, type(None))):
        return repr(value)
    if isinstance(value, nn.Module):
        hidden = ("_trainer", "_fabric", "_forward_hooks", "_backward_hooks")
        own = {key: item for key, item in vars(value).items() if not key.startswith("_") or key in MODULE_STATE}
        return dumped({key: item for key, item in own.items() if key not in hidden}, inside)
    if callable(value) and getattr(value, "__closure__", None):
        return [dumped(cell.cell_contents, inside) for cell in value.__closure__]
    return type(value).__name__


MODULE_STATE = ("_parameters", "_buffers", "_modules", "_update_count", "_computed", "_current_fx_name")


class State(Callback):
    """Everything as it is at the start of some batch, after our hook."""

    def __init__(self, step: int) -> None:
        self.step, self.dump = step, None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step != self.step or self.dump is not None:
            return
        others = [
            one for one in trainer.callbacks if type(one).__name__ != "LearningRateController" and one is not self
        ]
        self.dump = {
            "module": dumped(pl_module),
            "class and file": (Program.calls_of_class, list(Program.last_of_class), list(CALLS), TOTAL),
            "modes": [part.training for part in pl_module.modules()],
            "optimizer": dumped(trainer.optimizers[0].state_dict()),
            "gradients": dumped([weight.grad for weight in pl_module.parameters()]),
            "callbacks": [dumped(vars(one)) for one in others],
            "random": (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()),
            "logged": dumped(trainer.callback_metrics),
            "batch": dumped(batch),
            "stops": trainer.should_stop,
            "loggers": [type(logger).__name__ for logger in trainer.loggers],
        }


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two dumps differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        return [d for key in keys for d in differences(one.get(key), other.get(key), f"{path}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [d for i, pair in enumerate(zip(one, other, strict=True)) for d in differences(*pair, f"{path}[{i}]")]
    return [] if one == other or repr(one) == repr(other) else [f"{path}: {str(one)[:80]} / {str(other)[:80]}"]


def cases(count: int, most: int, seed: int) -> list[tuple[str, ...]]:
    """Each habit alone, and random combinations."""
    generator = random.Random(seed)
    mixed = [tuple(generator.sample(HABITS, generator.randint(2, most))) for _ in range(count)]
    return list(itertools.chain([(habit,) for habit in HABITS], mixed))
