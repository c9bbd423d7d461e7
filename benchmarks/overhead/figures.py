"""A figure of the table: a ratio with its spread, what it means here, and whether it keeps its target."""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import thread_time
from typing import Any

_seen = math.inf

FASTEST_PART = 5
"""Of the slices of a timed call, the fastest fifth is read: what another process takes away only adds."""


@dataclass(frozen=True)
class Figure:
    """One row.

    Attributes:
        key: names it in the JSON, for the run that compares.
        line: of the list of targets, 1 to 6.
        what: what was measured.
        over: what it is a ratio to.
        ratio: median of the paired ratios.
        low: lower end of the 95 % interval of that median.
        high: upper end.
        pairs: how many.
        here: the same in units of this machine.
        target: in words.
        met: whether it is; ``None`` where there is no target.
    """

    key: str
    line: int
    what: str
    over: str
    ratio: float
    low: float
    high: float
    pairs: int
    here: str = ""
    target: str = ""
    met: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def paired(ratios: Sequence[float]) -> dict[str, Any]:
    """Median of the ratios, and where it lies with 95 % confidence, by bootstrap; for :class:`Figure`.

    >>> paired([1.0, 1.0, 1.0])["ratio"]
    1.0
    """
    chance = random.Random(0)
    medians = sorted(median(chance.choices(ratios, k=len(ratios))) for _ in range(400))
    return {"ratio": median(ratios), "low": medians[10], "high": medians[389], "pairs": len(ratios)}


def alternately(
    calls: Mapping[str, Callable[[], Any]], rounds: int, repeat: int = 1, clock: Callable[[], float] = thread_time
) -> dict[str, list[float]]:
    """Seconds of one call of each, measured in turn, round by round: CPU time of this thread.

    Args:
        calls: name → what to time.
        rounds: how often each is timed.
        repeat: calls in one timing.
        clock: another one, where waiting for something else than the processor counts.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    chance = random.Random(0)
    for call in calls.values():
        call()
    gc.collect()
    gc.disable()  # a collection would be billed to whoever runs then
    try:
        for _ in range(rounds):
            for name in chance.sample([*calls], len(calls)):
                call, began = calls[name], clock()
                for _ in range(repeat):
                    call()
                seconds[name].append((clock() - began) / repeat)
    finally:
        gc.enable()
    return seconds


def over(seconds: Mapping[str, Sequence[float]], name: str, base: str) -> list[float]:
    """Ratio to ``base`` in each round."""
    return [one / other for one, other in zip(seconds[name], seconds[base], strict=True)]


def undisturbed(seconds: Mapping[str, Sequence[float]], name: str) -> float:
    """Seconds of one call where nothing else runs on this machine: the ratio to the yardstick, at its fastest."""
    return median(over(seconds, name, "yardstick")) * _fastest(seconds["yardstick"])


def typical(seconds: Sequence[float]) -> float:
    """The median of the fastest fifth."""
    return median(sorted(seconds)[: max(1, len(seconds) // FASTEST_PART)])


def _fastest(yardsticks: Sequence[float]) -> float:
    """The fastest yardstick of the whole process: in the midst of other work a single row may never see it."""
    global _seen
    _seen = min(_seen, *yardsticks)
    return _seen


def shown(seconds: float) -> str:
    """A time in a unit that suits it.

    >>> shown(2.5e-6), shown(0.25), shown(3.0)
    ('2.50 µs', '250 ms', '3.00 s')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds / size >= 100 else f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def yardstick() -> float:
    """A fixed amount of plain Python, some 100 µs: figures of two machines can be compared through it."""
    total = 0.0
    for number in range(1, 1201):
        total += math.sqrt(number) * 0.5
    return total
