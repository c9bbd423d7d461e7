"""``python -m benchmarks.overhead.cuda``: line 3 where there is a GPU.

Each step of ours runs under ``torch.cuda.set_sync_debug_mode("error")``, which raises at any call that makes the host
wait; and a ResNet-18 and a small GPT are trained in bf16 with and without the callback, in alternating blocks of one
run, plain and under ``torch.compile``, with the number of graphs that were compiled once the rate began to change.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch._dynamo.utils import counters

from benchmarks.overhead.figures import over, paired
from benchmarks.overhead.lanes import ENDING, HOLDING, Boring, LRSchedule, arguments, run
from benchmarks.overhead.networks import GPT, resnet18
from benchmarks.overhead.sides import OFF, ON, with_and_without
from lightning_lr import LearningRateController

BLOCK, ROUNDS = 20, 30


class Strict(LearningRateController):
    """Ours, with an error at each synchronization within the hooks of a step."""

    def on_train_batch_start(self, *args: Any) -> None:
        with _no_synchronization():
            super().on_train_batch_start(*args)

    def on_train_batch_end(self, *args: Any) -> None:
        exploring = self._fit_run is not None and self._fit_run.lr_schedule.lr_search is not None
        with _no_synchronization(allowed=exploring):  # a sweep reads each loss: it has to know when to end
            super().on_train_batch_end(*args)


@contextmanager
def _no_synchronization(allowed: bool = False) -> Iterator[None]:
    if allowed or not torch.cuda.is_available():
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Net(Boring):
    """A network and one batch, which lies on the device from the start."""

    def __init__(self, name: str, compiled: bool, plateau: bool = False) -> None:
        super().__init__(plateau)
        self.net, self.batch, self.labels = _task(name)
        self.output: Callable[..., Any] = torch.compile(self.net) if compiled else self.net

    def on_fit_start(self) -> None:
        """Now the device is known."""
        self.batch, self.labels = self.batch.to(self.device), self.labels.to(self.device)

    def loss(self, batch: Any) -> Any:
        """Cross-entropy."""
        return nn.functional.cross_entropy(self.output(self.batch).flatten(0, -2), self.labels)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


def _task(name: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    if name == "small GPT":
        words = torch.randint(0, 256, (16, 128))
        return GPT(), words, words.flatten()
    return resnet18(), torch.randn(64, 3, 64, 64), torch.zeros(64, dtype=torch.long)


def compared(name: str, compiled: bool, lane: str, accelerator: str, rounds: int) -> str:
    """One sentence: what a step costs with ours, and what was compiled meanwhile."""
    graphs: list[int] = []

    def switches(trainer: Any, theirs: Sequence[Callback]) -> dict[str, Callable[[], None]]:
        graphs.append(_graphs())
        return with_and_without(trainer, theirs)

    lr_schedule = LRSchedule(
        model=partial(Net, name, compiled),
        block=BLOCK,
        rounds=rounds,
        trainer={"accelerator": accelerator, "devices": 1, "precision": "bf16-mixed"},
        clock=_emptied if torch.cuda.is_available() else perf_counter,
    )
    steps = run(lane, lr_schedule, switches, [Strict("val_loss", **arguments(lane))]).steps
    ratio = paired(over(steps, ON, OFF))
    return (
        f"{name}{', compiled' if compiled else ''}, {lane}: × {ratio['ratio']:.4f} "
        f"[{ratio['low']:.4f}, {ratio['high']:.4f}] of {1e3 * median(steps[OFF]):.2f} ms a step; "
        f"{_graphs() - graphs[0]} graphs compiled while it was timed"
    )


def _emptied() -> float:
    """The wall clock, once the GPU has done all that it was asked for."""
    torch.cuda.synchronize()
    return perf_counter()


def _graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def main() -> None:
    """Compare, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead.cuda", description=__doc__)
    parser.add_argument(
        "--accelerator", default="gpu", help="cpu: to try out the script itself; no figure of it counts"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each side, 40 at the most")
    options = parser.parse_args()
    if options.accelerator == "gpu" and not torch.cuda.is_available():
        print("no CUDA here: not run")
        return
    for name in ("ResNet-18", "small GPT"):
        for compiled in (False, True):
            for lane in (HOLDING, ENDING):
                print(compared(name, compiled, lane, options.accelerator, options.rounds), flush=True)


if __name__ == "__main__":
    main()
