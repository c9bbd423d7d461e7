"""What a logger wrote, one column a metric: steps and values, of a run that may have been resumed.

A resumed run writes some steps a second time, in the same file or in a second one. One rule covers all of it: where a
metric's step does not go on, what was logged from that step on belongs to the part that was lost, and is replaced.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from lightning_lr.engine.log_tags import CONDITION, condition_of


class Column:
    """One metric: 16 bytes a value, whatever the length of the run.

    >>> column = Column()
    >>> for step, value in [(9, 0.5), (19, 0.4), (29, 0.3), (19, 0.45), (29, 0.35)]:   # resumed from step 10
    ...     column.add(step, value)
    >>> list(column), column.rewinds
    ([(9, 0.5), (19, 0.45), (29, 0.35)], 1)
    """

    def __init__(self) -> None:
        self.steps = array("q")
        self.values = array("d")
        self.rewinds = 0
        self._newest = -1

    def add(self, step: int, value: float) -> None:
        """Take the next value, in the order in which it was logged."""
        if self.steps and step <= self.steps[-1]:
            self.rewinds += step < self._newest
            self.cut(step)
        self._newest = step
        self.steps.append(step)
        self.values.append(value)

    def cut(self, step: int) -> None:
        """Forget what was logged from that step on."""
        kept = bisect_left(self.steps, step)
        del self.steps[kept:], self.values[kept:]

    def at(self, step: int) -> float | None:
        """The value that was logged at exactly that step."""
        place = bisect_left(self.steps, step)
        return self.values[place] if place < len(self.steps) and self.steps[place] == step else None

    def latest(self, step: int) -> float:
        """The newest value up to that step; NaN before the first."""
        place = bisect_right(self.steps, step)
        return self.values[place - 1] if place else math.nan

    def between(self, after: int, upto: int) -> list[float]:
        """The values of the steps above the one, up to the other."""
        return self.values[bisect_right(self.steps, after) : bisect_right(self.steps, upto)].tolist()

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return zip(self.steps, self.values, strict=True)

    def __len__(self) -> int:
        return len(self.steps)


@dataclass
class Log:
    """Everything that one run's logger wrote.

    Attributes:
        columns: metric → its values. The conditions of our own callback, which it logs as a point in
            ``condition/<name>``, are one column ``condition``: where the run was resumed, the newer one counts.
        conditions: word of each number in such a column.
    """

    columns: dict[str, Column] = field(default_factory=dict)
    conditions: list[str] = field(default_factory=list)
    _known: dict[str, tuple[Column, float | None]] = field(default_factory=dict)

    def add(self, name: str, step: int, value: float) -> None:
        """Take the next value of a metric."""
        if name not in self._known:
            self._known[name] = self._column(name)
        column, code = self._known[name]
        column.add(step, value if code is None else code)

    def _column(self, name: str) -> tuple[Column, float | None]:
        found = condition_of(name)
        if found is None:
            return self.columns.setdefault(name, Column()), None
        owner, condition = found
        self.conditions.append(condition)
        return self.columns.setdefault(f"{owner}/{CONDITION}", Column()), len(self.conditions) - 1

    @property
    def restarts(self) -> int:
        """How often the run was resumed from an earlier step."""
        return max((column.rewinds for column in self.columns.values()), default=0)
