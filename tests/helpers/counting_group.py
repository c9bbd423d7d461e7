"""A process group that counts: gloo, with every collective of whatever origin written down before it is passed on.

DDP's own reducer, Lightning's barriers and objects, and ours: all go through the group, so nothing is missed that a
patched function of ``torch.distributed`` would not see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

NAME = "counting"
OPERATIONS = (
    "allgather",
    "allgather_into_tensor_coalesced",
    "_allgather_base",
    "allreduce",
    "allreduce_coalesced",
    "alltoall",
    "alltoall_base",
    "barrier",
    "broadcast",
    "gather",
    "recv",
    "reduce",
    "reduce_scatter",
    "_reduce_scatter_base",
    "scatter",
    "send",
)
OUTPUT_FIRST = (
    "allgather",
    "allgather_into_tensor_coalesced",
    "_allgather_base",
    "alltoall",
    "alltoall_base",
    "gather",
    "reduce_scatter",
    "_reduce_scatter_base",
    "scatter",
)


@dataclass(frozen=True)
class Sent:
    """One collective.

    Attributes:
        during: what went on, as :attr:`Counter.phase` said.
        operation: its name.
        size: bytes of what this rank gave.
    """

    during: str
    operation: str
    size: int


class Counter:
    """What the counting groups of this process have sent."""

    def __init__(self) -> None:
        self.phase = ""
        self.sent: list[Sent] = []


COUNTER = Counter()


class CountingGroup(dist.ProcessGroup):
    """Gloo, counted."""

    def __init__(self, store: Any, rank: int, size: int, timeout: timedelta) -> None:
        super().__init__(rank, size)
        self._gloo = dist.ProcessGroupGloo(store, rank, size, timeout)

    def getBackendName(self) -> str:
        return NAME


def _counted(operation: str) -> Callable[..., Any]:
    def call(self: CountingGroup, *args: Any, **options: Any) -> Any:
        given = args[1 if operation in OUTPUT_FIRST else 0] if args else []
        COUNTER.sent.append(Sent(COUNTER.phase, operation, _size(given)))
        return getattr(self._gloo, operation)(*args, **options)

    return call


def _size(given: Any) -> int:
    if isinstance(given, torch.Tensor):
        return given.numel() * given.element_size()
    return sum(map(_size, given)) if isinstance(given, list | tuple) else 0


for _operation in OPERATIONS:
    setattr(CountingGroup, _operation, _counted(_operation))


def register() -> None:
    """Make ``process_group_backend="counting"`` known, once a process."""
    if NAME not in dist.Backend.backend_list:
        dist.Backend.register_backend(NAME, CountingGroup, devices=["cpu"])
