"""One check as numbers: what the ranks add up, and what rank 0 hands to all.

The length depends on the number of monitors and probes alone: three numbers for each monitor, 3 for the training
metric, 99 for the window of training losses, 5 for the decision and 1 for the budget. With 50 monitors that is 2 KB. A
probe adds its
sums at the end of the readings, at most two numbers for each layer of the network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lightning_lr.engine.records import Decision, TrainWindow
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.run.readings.loss_window import LARGEST, TOTALS, window_from_totals

ACTIONS = tuple(Action)
NO_SNAPSHOT = -2.0
FAILED = -1.0
NO_BUDGET = -1.0
CODES = 5


@dataclass(frozen=True)
class Shared:
    """The readings of all ranks together.

    Attributes:
        metrics: monitor → mean over the ranks that logged it freshly; NaN where it was not finite on any of them.
        train_metric: the same for ``train_monitor``.
        window: the training loss.
        partial: monitors that only some ranks logged.
        probes: what was measured inside the network.
    """

    metrics: Mapping[str, float]
    train_metric: float | None
    window: TrainWindow | None
    partial: tuple[str, ...] = ()
    probes: Mapping[str, float] = field(default_factory=dict)


def pack_readings(names: Sequence[str], fresh: Mapping[str, float], window_totals: Sequence[float]) -> list[float]:
    """This rank's readings as numbers that may be added up over the ranks.

    Args:
        names: every metric that may be fresh, in the same order on all ranks.
        fresh: those that are, on this rank.
        window_totals: see :meth:`~lightning_lr.run.readings.loss_window.LossWindow.totals`.
    """
    return [number for name in names for number in _packed(fresh.get(name))] + list(window_totals)


def split_probes(names: Sequence[str], totals: Sequence[float]) -> tuple[list[float], list[float]]:
    """The readings as :func:`pack_readings` packed them, and the sums of the probes that follow."""
    end = 3 * len(names) + TOTALS
    return list(totals[:end]), list(totals[end:])


def unpack_readings(
    names: Sequence[str], train_monitor: str | None, totals: Sequence[float], world_size: int
) -> Shared:
    """The readings of all ranks, from the sum of :meth:`pack_readings` over them.

    >>> one = pack_readings(["val_loss"], {"val_loss": 1.0}, [0.0] * 99)
    >>> two = pack_readings(["val_loss"], {"val_loss": 2.0}, [0.0] * 99)
    >>> unpack_readings(["val_loss"], None, [a + b for a, b in zip(one, two)], 2).metrics
    {'val_loss': 1.5}
    """
    split = 3 * len(names)
    triples = {name: totals[3 * i : 3 * i + 3] for i, name in enumerate(names)}
    values = {name: _mean(*triple) for name, triple in triples.items() if triple[0]}
    train_metric = values.pop(train_monitor, None) if train_monitor else None
    partial = tuple(name for name, triple in triples.items() if 0 < triple[0] < world_size)
    return Shared(values, train_metric, window_from_totals(totals[split:], world_size), partial)


def own_readings(names: Sequence[str], packed: Sequence[float]) -> tuple[dict[str, float], list[float]]:
    """The fresh metrics and the window of one rank, from its own :func:`pack_readings`."""
    triples = {name: packed[3 * i : 3 * i + 3] for i, name in enumerate(names)}
    return {name: _mean(*triple) for name, triple in triples.items() if triple[0]}, list(packed[3 * len(names) :])


def pack_decision(decision: Decision, conditions: Sequence[Condition]) -> list[float]:
    """The decision as numbers: scales travel, not lists of groups.

    Args:
        decision: of this rank.
        conditions: all that the engine knows, in the same order on all ranks; a condition travels as its place.
    """
    snapshot = NO_SNAPSHOT if decision.snapshot_check is None else float(decision.snapshot_check)
    action, condition = ACTIONS.index(decision.action), conditions.index(decision.condition)
    return [float(action), float(condition), decision.factor, float(decision.check), snapshot]


def pack_budget(budget: int | None) -> float:
    """The budget in optimizer steps as a number.

    >>> unpack_budget(pack_budget(None)), unpack_budget(pack_budget(300))
    (None, 300)
    """
    return NO_BUDGET if budget is None else float(budget)


def unpack_budget(number: float) -> int | None:
    """What :func:`pack_budget` was given."""
    return None if number == NO_BUDGET else int(number)


def adopt_decision(own: Decision, codes: Sequence[float], conditions: Sequence[Condition]) -> Decision:
    """Rank 0's decision, on another rank.

    The core is deterministic and every rank saw rank 0's numbers, so ``own`` normally is the same; machines with
    different mathematical libraries may round differently, and then rank 0 is right.
    """
    if pack_decision(own, conditions) == list(codes):
        return own
    action, condition = ACTIONS[int(codes[0])], conditions[int(codes[1])]
    snapshot_check = None if codes[4] == NO_SNAPSHOT else int(codes[4])
    steps = {"restore": snapshot_check is not None, "scale": codes[2] != 1.0}
    steps |= {"anneal": action is Action.ANNEAL, "stop": action is Action.STOP}
    return replace(
        own,
        action=action,
        condition=condition,
        factor=codes[2],
        snapshot_check=snapshot_check,
        cause="as rank 0 decided",
        blocked_by=None,
        steps=tuple(step for step, is_done in steps.items() if is_done),
        sentence=f"{condition}: as rank 0 decided ({action}); this rank would have said: {own.reason}",
    )


def _packed(value: float | None) -> tuple[float, float, float]:
    """Whether it is there, its finite part, whether it is finite: NaN itself would swallow the other ranks' values."""
    if value is None:
        return 0.0, 0.0, 0.0
    return (1.0, max(-LARGEST, min(value, LARGEST)), 1.0) if math.isfinite(value) else (1.0, 0.0, 0.0)


def _mean(present: float, total: float, finite: float) -> float:
    return total / present if finite == present else math.nan
