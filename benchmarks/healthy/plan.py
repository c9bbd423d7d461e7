"""Which runs are recorded: tasks × optimizers × schedules × budgets × sizes of the validation set × seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from benchmarks.any_start.tasks import TASKS, Task

SMALL = {
    "small-wine-sgd": 1.0,
    "cora-adamw": 0.25,
    "digits-adamw": 1.0,
    "digits-noisy-adamw": 1.0,
    "red-wine-sgd": 1.0,
    "housing-adamw": 0.6,
    "bikes-adamw": 0.6,
}
"""The data and models of ``benchmarks/any_start`` that train in a second or two (no convolutions, no transformer) → the
share of their epochs that keeps it so."""

BATCH = 2
"""Times the batch of the task: half as many steps. The rates are tuned to it."""

RATES = {"sgd": 0.05, "adamw": 1e-3}
"""Optimizer → the rate around which it is tuned, where it is not the task's own: else that is the task's."""

MULTIPLES = (0.1, 1 / 3, 1.0, 3.0, 10.0)
"""Of that rate, from which the tuning chooses."""

BUDGETS = (0.5, 1.0, 2.0)
"""Of the task's epochs."""

VALIDATION = (0.25, 1.0)
"""Of the task's validation set: the first rows of it."""

TUNING_SEED = 1000
"""No recorded run has it."""


def one_cycle(used: float) -> float:
    """As torch's ``OneCycleLR`` with its defaults.

    >>> [round(one_cycle(used), 2) for used in (0.0, 0.15, 0.3, 0.65, 1.0)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    if used < 0.3:
        return 1 / 25 + (1 - 1 / 25) * 0.5 * (1 - math.cos(math.pi * used / 0.3))
    return 0.5 * (1 + math.cos(math.pi * (used - 0.3) / 0.7))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda used: 0.5 * (1 + math.cos(math.pi * used)),
    "linear": lambda used: 1 - used,
    "one-cycle": one_cycle,
    "step": lambda used: 0.1 ** ((used >= 0.5) + (used >= 0.75)),
}
"""Name → share of the budget that is used up → multiple of the rate."""


@dataclass(frozen=True)
class Run:
    """What one run is made of.

    Attributes:
        task: of ``benchmarks/any_start``.
        optimizer: ``sgd`` (momentum 0.9) or ``adamw``.
        schedule: how the rate goes.
        budget: of the task's epochs.
        validation: share of the validation set that is looked at.
        seed: of the weights and the batches.
    """

    task: str
    optimizer: str
    schedule: str
    budget: float
    validation: float
    seed: int

    @property
    def of(self) -> Task:
        """The task."""
        return next(task for task in TASKS if task.name == self.task)

    @property
    def epochs(self) -> int:
        """How many there are, one check each."""
        return max(4, round(self.budget * SMALL[self.task] * self.of.epochs))

    @property
    def tuned_alike(self) -> Run:
        """The run for which the rate of this one is tuned: the plain budget, all validation data, a seed of its own."""
        return Run(self.task, self.optimizer, self.schedule, 1.0, 1.0, TUNING_SEED)

    @property
    def candidates(self) -> tuple[float, ...]:
        """The rates among which the tuning chooses."""
        own = self.of.optimizer == self.optimizer
        rate = self.of.lr if own else RATES[self.optimizer]
        return tuple(float(f"{multiple * rate:.3g}") for multiple in MULTIPLES)

    def __str__(self) -> str:
        data = f"{self.task.rpartition('-')[0]}-{self.optimizer}"
        return f"{data} {self.schedule} ×{self.budget:g} validation ×{self.validation:g} seed {self.seed}"


def plan(seeds: int) -> Iterator[Run]:
    """All runs, those of one seed first.

    >>> len(list(plan(seeds=5)))
    1560
    """
    for seed in range(seeds):
        for task, optimizer, *rest in product(SMALL, RATES, SCHEDULES, BUDGETS, VALIDATION):
            if (task, optimizer) != ("cora-adamw", "sgd"):  # its decay, as the penalty that SGD makes of it, stops it
                yield Run(task, optimizer, *rest, seed=seed)
