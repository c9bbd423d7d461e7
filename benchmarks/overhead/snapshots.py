"""Line 4: what a snapshot takes in memory and time, beside ``torch.save`` and a plain copy of the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from statistics import median

import torch
from torch import nn

from benchmarks.overhead.figures import Figure, alternately, over, paired, shown
from benchmarks.overhead.snapshot_files import file_figures
from lightning_lr.snapshot.snapshot import Snapshot

STEPS = 500
"""Of an epoch. The share is that of the worst case: a new best, hence a snapshot, after each one."""


class Trained:
    """A model with Adam state, some 25 MB in all, and one training step of it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 512), nn.LayerNorm(512))
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.batch = torch.randn(64, 512)
        self.step()

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.model(self.batch).square().mean().backward()
        self.optimizer.step()

    def tensors(self) -> list[torch.Tensor]:
        states = [v for s in self.optimizer.state.values() for v in s.values() if isinstance(v, torch.Tensor)]
        return [p.detach() for p in self.model.parameters()] + states


def snapshot_figures(quick: bool) -> Iterator[Figure]:
    """Memory in bytes of tensors, time in alternation."""
    trained = Trained()
    kept = [Snapshot.now(trained.model, [trained.optimizer]).copied()]
    weight = sum(tensor.nbytes for tensor in trained.tensors())
    copies = [tensor.clone() for tensor in trained.tensors()]

    def take() -> None:
        kept[0] = Snapshot.now(trained.model, [trained.optimizer]).copied(kept[0])

    def restore() -> None:
        kept[0].restore(trained.model, [trained.optimizer])

    def copy() -> None:
        for target, source in zip(copies, trained.tensors(), strict=True):
            target.copy_(source)

    def save() -> None:
        torch.save({"model": trained.model.state_dict(), "optimizer": trained.optimizer.state_dict()}, io.BytesIO())

    calls = {"take": take, "restore": restore, "copy": copy, "save": save, "step": trained.step}
    seconds = alternately(calls, 10 if quick else 60)
    extra = kept[0].nbytes / weight
    yield Figure(
        key="snapshot/memory",
        line=4,
        what="memory of a snapshot, also while the next one is taken into it",
        over="weights and optimizer state",
        ratio=extra,
        low=extra,
        high=extra,
        pairs=1,
        here=f"{kept[0].nbytes / 2**20:.1f} MB, counted in tensors",
        target="one copy at the most",
        met=extra <= 1.0,
    )
    for name in ("take", "restore"):
        for base, said in (("save", "torch.save of the same state, into memory"), ("copy", "a copy of the same bytes")):
            yield Figure(
                key=f"snapshot/{name}/{base}",
                line=4,
                what=f"to {name} a snapshot",
                over=said,
                **paired(over(seconds, name, base)),
                here=f"{shown(median(seconds[name]))}: {weight / median(seconds[name]) / 1e9:.1f} GB/s",
            )
    shares = [t / (STEPS * s + t) for t, s in zip(seconds["take"], seconds["step"], strict=True)]
    figure = paired(shares)
    yield Figure(
        key="snapshot/share",
        line=4,
        what=f"share of the run, a new best after each epoch of {STEPS} steps",
        over="the time of the run",
        **figure,
        here=f"a step takes {shown(median(seconds['step']))}",
        target="≤ 1 %",
        met=figure["ratio"] <= 0.01,
    )
    yield from file_figures(trained.model, [trained.optimizer], 10 if quick else 60)
