"""What the processes of a run send each other: one small tensor of numbers at a time.

Decisions must be the same on every rank, or the weights part silently. So readings are added over ranks once a
check, and rank 0's numbers are handed to all. Every message is one tensor whose length all ranks know beforehand:
no pickle, no sizes sent ahead, no barrier. (``strategy.broadcast`` sends a size and then a pickle; ``strategy.reduce``
puts a barrier before its all-reduce.)

**Every rank must call the same method, in the same order, with lists of the same length**, or the run hangs.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """The processes that train together.

    With one process, or where ``torch.distributed`` is not set up, each method returns what it was given and
    touches no device.

    Attributes:
        world_size: how many processes there are.
        rank: number of this one, from 0.
        device: where messages must lie: NCCL sends only what is on the GPU.

    Example:
        >>> alone = Ranks()
        >>> alone.sum([1.0, 2.0]), alone.gather([3.0])
        ([1.0, 2.0], [[3.0]])
    """

    world_size: int = 1
    rank: int = 0
    device: torch.device = CPU

    @classmethod
    def of(cls, strategy: Any) -> Ranks:
        """The ranks of a Lightning strategy; one without ``world_size`` (single device) is alone."""
        return cls(
            world_size=getattr(strategy, "world_size", 1),
            rank=getattr(strategy, "global_rank", 0),
            device=torch.device(strategy.root_device),
        )

    @property
    def alone(self) -> bool:
        """Whether there is no other process to communicate with."""
        return self.world_size == 1 or not (dist.is_available() and dist.is_initialized())

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add element by element over all ranks: one all-reduce. A NaN on one rank makes it NaN on all."""
        if self.alone:
            return list(values)
        message = self._message(values)
        dist.all_reduce(message)
        return self._numbers(message)

    def from_rank_zero(self, values: Sequence[float]) -> list[float]:
        """Rank 0's numbers, bit for bit (NaN and infinity too); the others' serve only for their length."""
        if self.alone:
            return list(values)
        message = self._message(values)
        dist.broadcast(message, src=0)
        return self._numbers(message)

    def gather(self, values: Sequence[float]) -> list[list[float]]:
        """Every rank's numbers, by rank. For checkpoints: its size grows with the number of ranks."""
        if self.alone:
            return [list(values)]
        message = self._message(values)
        parts = [torch.empty_like(message) for _ in range(self.world_size)]
        dist.all_gather(parts, message)
        return [self._numbers(part) for part in parts]

    def gather_bytes(self, own: bytes) -> list[bytes]:
        """Every rank's bytes, by rank; they may be of different lengths. For checkpoints, like :meth:`gather`."""
        if self.alone:
            return [own]
        lengths = [int(length) for (length,) in self.gather([float(len(own))])]
        if not any(lengths):
            return [own] * len(lengths)
        padded = bytearray(own.ljust(max(lengths), b"\0"))
        message = torch.frombuffer(padded, dtype=torch.uint8).to(self.device)
        parts = [torch.empty_like(message) for _ in range(self.world_size)]
        dist.all_gather(parts, message)
        return [part.cpu().numpy().tobytes()[:length] for part, length in zip(parts, lengths, strict=True)]

    def union(self, names: Iterable[str]) -> set[str]:
        """The names of all ranks together."""
        parts = self.gather_bytes("\n".join(names).encode())
        return {name for part in parts for name in part.decode().splitlines()}

    def gather_plain(self, own: Any) -> list[Any]:
        """Every rank's tensors and plain values, by rank. For checkpoints: two collectives."""
        if self.alone:
            return [own]
        saved = io.BytesIO()
        torch.save(own, saved)
        return [torch.load(io.BytesIO(part), weights_only=True) for part in self.gather_bytes(saved.getvalue())]

    def _message(self, values: Sequence[float]) -> Tensor:
        wide = torch.float32 if self.device.type == "mps" else torch.float64  # MPS has no float64
        return torch.tensor(list(values), dtype=wide, device=self.device)

    @staticmethod
    def _numbers(message: Tensor) -> list[float]:
        return [float(number) for number in message.tolist()]
