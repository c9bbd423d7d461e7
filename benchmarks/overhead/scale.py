"""Line 6: how the cost grows with parameter groups, optimizers, monitors and ranks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from statistics import median
from time import perf_counter

import torch
import torch.distributed as dist

from benchmarks.overhead.checks import FedEngine
from benchmarks.overhead.figures import Figure, alternately, over, paired, shown, undisturbed, yardstick
from lightning_lr.optim.controlled_groups import ControlledGroups
from lightning_lr.run.distributed import Ranks

GROUPS, OPTIMIZERS, MONITORS, RANKS = (1, 100, 10_000), (1, 10), (1, 10, 50), (1, 2, 4, 8)


class Scaled:
    """An optimizer, or several, whose groups are controlled and hold a scale other than 1."""

    def __init__(self, groups: int, optimizers: int = 1) -> None:
        self.optimizers = [self._optimizer(groups) for _ in range(optimizers)]
        self.controlled = ControlledGroups("ours")
        self.controlled.scan(self.optimizers, [])
        self.controlled.multiply(0.5)
        self.scale = 1.0

    @staticmethod
    def _optimizer(groups: int) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(groups)], lr=0.1)

    def hold(self) -> None:
        """A step at which nothing changes: before and after the optimizer's own."""
        self.controlled.before_step()
        self.controlled.before_step()

    def anneal(self) -> None:
        """A step at which every rate changes."""
        self.scale *= 0.9999
        self.controlled.set_part("curve", self.scale)
        self.hold()

    def check(self) -> None:
        """What a check asks of the groups."""
        self.controlled.rates()


def scale_figures(quick: bool) -> Iterator[Figure]:
    """One table a dimension."""
    yield from _groups(5 if quick else 30)
    yield from _optimizers(10 if quick else 100)
    yield from _monitors(10 if quick else 100)
    yield from _ranks(50 if quick else 300)


def _groups(rounds: int) -> Iterator[Figure]:
    for count in GROUPS:
        ours, plain = Scaled(count), Scaled._optimizer(count)
        scheduler = torch.optim.lr_scheduler.LinearLR(plain, total_iters=10**9)
        plain.step()
        calls = {"hold": ours.hold, "anneal": ours.anneal, "check": ours.check, "torch": scheduler.step}
        seconds = alternately({**calls, "yardstick": yardstick}, rounds)
        for name, what in (
            ("hold", "a step at which nothing changes"),
            ("anneal", "a step at which every rate changes"),
            ("check", "the rates by name, once a check"),
        ):
            yield Figure(
                key=f"groups/{count}/{name}",
                line=6,
                what=f"{count:,} parameter group{'s' if count > 1 else ''}: {what}",
                over="one step of torch's LinearLR over them",
                **paired(over(seconds, name, "torch")),
                here=shown(undisturbed(seconds, name)),
                target="below torch's own" if name != "check" else "",
                met=median(over(seconds, name, "torch")) < 1 if name != "check" else None,
            )


def _optimizers(rounds: int) -> Iterator[Figure]:
    runs = {str(count): Scaled(4, count) for count in OPTIMIZERS}
    seconds = alternately({**{name: run.hold for name, run in runs.items()}, "yardstick": yardstick}, rounds, repeat=20)
    yield Figure(
        key="optimizers/10",
        line=6,
        what="10 optimizers of 4 groups: a step at which nothing changes",
        over="1 optimizer",
        **paired(over(seconds, "10", "1")),
        here=shown(undisturbed(seconds, "10")),
        target="no worse than in proportion",
        met=median(over(seconds, "10", "1")) <= 10.5,
    )


def _monitors(rounds: int) -> Iterator[Figure]:
    engines = {str(n): FedEngine(tuple(f"val_loss/dataloader_idx_{i}" for i in range(n))).run(100) for n in MONITORS}
    seconds = alternately({**{name: fed.step for name, fed in engines.items()}, "yardstick": yardstick}, rounds)
    for count in MONITORS[1:]:
        ratio = paired(over(seconds, str(count), "1"))
        yield Figure(
            key=f"monitors/{count}",
            line=6,
            what=f"{count} monitors: a decision in the core",
            over="1 monitor",
            **ratio,
            here=shown(undisturbed(seconds, str(count))),
            target="no worse than in proportion",
            met=ratio["ratio"] <= 1.05 * count,
        )


def _ranks(rounds: int) -> Iterator[Figure]:
    """Two messages a check, over gloo, all ranks on this machine; the wall clock, since waiting is what it costs."""
    from tests.helpers.ranks import run_on_ranks

    cpus = os.cpu_count() or 1
    for count in RANKS:
        times = run_on_ranks(lambda rank: _messages(rank, count, rounds), count, timeout=300)[0]  # noqa: B023
        yield Figure(
            key=f"ranks/{count}",
            line=6,
            what=f"{count} rank{'s' if count > 1 else ''}: the two messages of a check, three monitors",
            over="an all-reduce of one number",
            **paired([a / b for a, b in times]),
            here=f"{shown(median(a for a, _ in times))} on {cpus} cores",
        )


def _messages(rank: int, count: int, rounds: int) -> list[tuple[float, float]]:
    ranks, message, found = Ranks(count, rank), [1.0] * 108, []
    one = torch.zeros(1, dtype=torch.float64)
    for _ in range(rounds):
        began = perf_counter()
        ranks.from_rank_zero(ranks.sum(message) + [0.0] * 5)
        train_only = perf_counter()
        dist.all_reduce(one)
        found.append((train_only - began, perf_counter() - train_only))
    return found[5:]
