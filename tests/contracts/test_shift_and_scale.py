"""Another unit and another zero of loss and monitor decide alike.

The class of faults: a rule that compares a loss with zero. A loss is defined up to a constant (a likelihood, an
energy, a penalty), its unit is arbitrary, and neither says anything about the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import LightningModule, seed_everything
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.policies import PRESETS
from lightning_lr.engine.records import Decision, Reading
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Mode
from lightning_lr.offline.curves import FAMILIES, MONITOR, readings_of
from tests.helpers.scripted import trainer

few = settings(max_examples=30, deadline=None)
KINDS, SEEDS, POLICIES = st.sampled_from(sorted(FAMILIES)), st.integers(0, 9), st.sampled_from(sorted(PRESETS))
SCALES = st.sampled_from([2.0**-60, 0.25, 2.0, 2.0**20])
SHIFTS = st.sampled_from([-1000.0, -3.0, -0.5, 7.0, 1000.0])


def moved(reading: Reading, scale: float, shift: float) -> Reading:
    """The same reading in another unit, from another zero."""
    window = reading.train
    if window is not None:
        blocks = tuple(scale * block + shift for block in window.blocks)
        window = replace(window, mean=scale * window.mean + shift, blocks=blocks)
    metrics = {name: scale * value + shift for name, value in reading.metrics.items()}
    untrained = {name: scale * value + shift for name, value in reading.untrained.items()}
    return replace(reading, metrics=metrics, train=window, untrained=untrained)


def decided(readings: Sequence[Reading], policy: str, mode: Mode = Mode.MIN) -> list[tuple[Any, ...]]:
    """What the engine decides at each check, and whether its state is the best; nothing is adjusted in between."""
    engine, best, found = DecisionEngine(Settings((MONITOR,), mode, PRESETS[policy])), -1, []
    for reading in readings:
        decision = engine.check(replace(reading, snapshot_check=best, progress=(reading.check + 1) / len(readings)))
        best = reading.check if engine.is_best else best
        found.append((*told(decision), engine.is_best))
    return found


@lru_cache
def curve(kind: str, seed: int) -> Sequence[Reading]:
    """The readings of a pretended run; of every other one the losses before training are known."""
    first, *others = FAMILIES[kind](seed).readings
    assert first.train is not None
    known = {"train_loss": first.train.blocks[0], MONITOR: first.metrics[MONITOR]} if seed % 2 else {}
    return [replace(first, untrained=known), *others]


def told(decision: Decision) -> tuple[Any, ...]:
    return decision.check, decision.action, decision.condition, decision.factor, decision.snapshot_check


@few
@given(KINDS, SEEDS, POLICIES, SCALES)
def test_another_unit_decides_alike(kind, seed, policy, scale):
    """Powers of two, so that rounding scales as well."""
    readings = curve(kind, seed)
    assert decided([moved(r, scale, 0) for r in readings], policy) == decided(readings, policy)


@few
@given(KINDS, SEEDS, POLICIES, SHIFTS)
def test_another_zero_decides_alike(kind, seed, policy, shift):
    readings = curve(kind, seed)
    assert decided([moved(r, 1, shift) for r in readings], policy) == decided(readings, policy)


@pytest.mark.parametrize("shift", [-1000.0, -2.3, 3.0, 1000.0])
@pytest.mark.parametrize("levels", [[600.0, 640.0, 620.0], [2.35, 2.4, 2.45], [2.2, 2.1, 9.0, 9.1, 9.0]])
def test_a_loss_above_the_one_before_training(levels, shift):
    """Whether it lies far above is told by noise and gain."""
    untrained = {"train_loss": 2.3, MONITOR: 2.3}
    first, *others = readings_of(levels, [[0.99 * level, level, 1.01 * level] for level in levels])
    readings = [replace(first, untrained=untrained), *others]
    assert decided([moved(r, 1, shift) for r in readings], "auto") == decided(readings, "auto")


@few
@given(KINDS, SEEDS, POLICIES, SHIFTS)
def test_of_a_monitor_that_is_maximized_too(kind, seed, policy, shift):
    """Without the training loss, which has one direction only."""
    up = [replace(moved(r, -1, 0), train=None) for r in curve(kind, seed)]
    assert decided([moved(r, 1, shift) for r in up], policy, Mode.MAX) == decided(up, policy, Mode.MAX)


# --- live -------------------------------------------------------------------------------------------------------------


class Shifted(LightningModule):
    """Learns by heart what cannot be learned; loss and monitor have a constant added, and another unit.

    Args:
        shift: added to both; the gradients stay what they are, bit for bit.
        scale: of the monitor, and of the logged training loss.
        lr: of Adam.
    """

    def __init__(self, shift: float, scale: float = 1.0, lr: float = 1e-2) -> None:
        super().__init__()
        self.shift, self.scale, self.lr = shift, scale, lr
        self.net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]) + self.shift

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("val_loss", self.scale * (loss.double() + self.shift))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def loader(seed: int, count: int) -> DataLoader:
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = torch.randn(count, 8, generator=generator), torch.randint(0, 3, (count,), generator=generator)
    return DataLoader(TensorDataset(inputs, torch.where(inputs[:, 0] > 1, 0, labels)), 32)


def trained(shift: float, scale: float, **options: Any) -> tuple[list[tuple[Any, ...]], list[float]]:
    """The decisions, and the weights in the end."""
    seed_everything(0, verbose=False)
    module, control = Shifted(shift, scale), LearningRateController(verbose=False, **options)
    trainer(control, max_epochs=24).fit(module, loader(0, 160), loader(1, 480))
    return [told(one) for one in control.decisions], [x for p in module.parameters() for x in p.flatten().tolist()]


@pytest.mark.parametrize("policy", ["auto", "conservative"])
@pytest.mark.parametrize(("shift", "scale"), [(-2.0, 1.0), (256.0, 1.0), (0.0, 1024.0)])
def test_a_run_is_the_same_whatever_the_zero_of_its_loss(policy, shift, scale):
    """It overfits; without a search, whose forward passes round the losses that it compares."""
    options = {"policy": policy, "find_lr": False, "anneal": False}
    decided_here, weights = trained(0.0, 1.0, **options)
    assert decided_here
    assert trained(shift, scale, **options) == (decided_here, weights)
