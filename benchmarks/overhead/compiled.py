"""Line 3, on the CPU: is anything compiled anew when the rate changes?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch._dynamo.utils import counters

from benchmarks.overhead.figures import Figure
from lightning_lr.optim.lr_scale import LRScale

STEPS = 20


def recompilations(tensor_rate: bool, backend: str = "aot_eager", compile_step: bool = False) -> tuple[int, int]:
    """Graphs that a run of compiled steps needs: with the rate left alone, and with a change at each step.

    Args:
        tensor_rate: whether the rate is a tensor.
        backend: of ``torch.compile``; what is compiled anew is decided before any backend runs.
        compile_step: whether the optimizer's step is compiled too.
    """
    return _graphs(tensor_rate, backend, compile_step, False), _graphs(tensor_rate, backend, compile_step, True)


def _graphs(tensor_rate: bool, backend: str, compile_step: bool, changes: bool) -> int:
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    rate = torch.tensor(0.01) if tensor_rate else 0.01
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    control = LRScale.of(optimizer)
    control.attach([])
    forward = torch.compile(model, backend=backend)
    step = torch.compile(optimizer.step, backend=backend) if compile_step else optimizer.step
    for number in range(STEPS):
        optimizer.zero_grad()
        forward(torch.ones(4, 8)).square().mean().backward()
        step()
        if changes:
            control.set_scale("ours", 1 / (number + 2))
    control.detach()
    return int(counters["stats"]["unique_graphs"])


def compile_figures(quick: bool) -> Iterator[Figure]:
    """A count, not a time: the same on every machine."""
    for tensor_rate, compile_step, said in (
        (False, False, "compiled model, float rate"),
        (True, False, "compiled model, tensor rate"),
        (True, True, "compiled model and optimizer step, tensor rate"),
    ):
        without, with_ = recompilations(tensor_rate, compile_step=compile_step)
        yield Figure(
            key=f"compile/{said}",
            line=3,
            what=f"graphs compiled in {STEPS} steps, a change of the rate after each: {said}",
            over="no change of the rate",
            ratio=with_ / without,
            low=with_ / without,
            high=with_ / without,
            pairs=1,
            here=f"{with_} graphs",
            target="no recompilation",
            met=with_ == without,
        )
