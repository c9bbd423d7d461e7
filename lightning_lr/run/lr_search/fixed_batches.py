"""The batches that the loss is read on: copied before the module can change them, cut to a few examples, counted."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lightning_lr.snapshot.constant import bytes_of

HELD_OUT = 2
"""Batches of validation among the fixed ones."""

LARGEST = 256 * 2**20
"""Bytes of one batch that is copied at most."""


@dataclass
class Unit:
    """What one optimizer step sees: one batch, or those whose gradients are accumulated.

    Attributes:
        batches: copies, each with its index in the epoch.
    """

    batches: list[tuple[Any, int]] = field(default_factory=list)

    def add(self, batch: Any, index: int) -> None:
        """Copy a batch."""
        self.batches.append((copied(batch), index))

    def cut(self, examples: int) -> Unit:
        """The same with so many examples in all, as far as the batches can be cut."""
        each = max(1, -(-examples // len(self.batches)))
        return Unit([(first_examples(batch, each), index) for batch, index in self.batches])

    @property
    def examples(self) -> int:
        """How many there are; 0 if a batch does not tell."""
        sizes = [size_of(batch) for batch, _ in self.batches]
        return 0 if None in sizes else sum(size for size in sizes if size is not None)


def joined(units: Sequence[Unit]) -> Unit | None:
    """One batch of them all, for one forward pass instead of several; ``None`` if they cannot be one.

    >>> both = joined([Unit([((torch.zeros(2, 3), ["a", "b"]), 0)]), Unit([((torch.ones(1, 3), ["c"]), 5)])])
    >>> both.batches[0][0][0].shape, both.batches[0][0][1]
    (torch.Size([3, 3]), ['a', 'b', 'c'])
    >>> joined([Unit([(torch.zeros(2, 3), 0)]), Unit([(torch.zeros(2, 4), 0)])]) is None
    True
    """
    parts = [batch for unit in units for batch, _ in unit.batches]
    sizes = [size_of(part) for part in parts]
    if None in sizes or not parts:
        return None
    try:
        return Unit([(_joined(parts, [size for size in sizes if size is not None]), units[0].batches[0][1])])
    except (_ApartError, RuntimeError, TypeError):
        return None


class _ApartError(Exception):
    """Batches of different forms."""


def _joined(parts: Sequence[Any], sizes: Sequence[int]) -> Any:
    first = parts[0]
    if any(type(part) is not type(first) for part in parts):
        raise _ApartError
    if isinstance(first, Tensor) and first.dim():
        if len({(part.shape[1:], part.dtype, part.device) for part in parts}) > 1:
            raise _ApartError
        return torch.cat(list(parts))
    if isinstance(first, dict):
        if any(part.keys() != first.keys() for part in parts):
            raise _ApartError
        return type(first)((key, _joined([part[key] for part in parts], sizes)) for key in first)
    if isinstance(first, (list, tuple)):
        plain = not any(isinstance(item, (Tensor, dict, list, tuple)) for part in parts for item in part)
        if plain and [len(part) for part in parts] == list(sizes):
            return type(first)([item for part in parts for item in part])
        if len({len(part) for part in parts}) > 1:
            raise _ApartError
        items = [_joined(items, sizes) for items in zip(*parts, strict=True)]
        return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)
    if any(bool(part != first) for part in parts):
        raise _ApartError
    return first


def copied(batch: Any) -> Any:
    """A deep copy whose tensors may be changed in place, also of a batch that was made in inference mode.

    Raises:
        Exception: if the batch cannot be copied; of whatever kind its parts raise.
    """
    with torch.inference_mode(False), torch.no_grad():
        memo: dict[int, Any] = {}
        for tensor in _tensors(batch):
            memo[id(tensor)] = tensor.detach().clone().requires_grad_(tensor.requires_grad)
        if bytes_of(memo.values()) > LARGEST:
            raise ValueError(f"a batch is larger than {LARGEST // 2**20} MiB")
        return copy.deepcopy(batch, memo)


def size_of(batch: Any) -> int | None:
    """Examples of a batch of tensors that all have as many rows; ``None`` if they do not.

    >>> size_of({"x": torch.zeros(4, 2), "y": torch.zeros(4), "weight": 0.5})
    4
    >>> size_of([torch.zeros(4, 2), torch.zeros(2, 9)]) is None, size_of(object()) is None
    (True, True)
    """
    rows = _rows(batch)
    return rows.pop() if len(rows) == 1 and None not in rows else None


def first_examples(batch: Any, count: int) -> Any:
    """The first few examples of a batch; the batch itself if it cannot be cut.

    >>> first_examples([torch.zeros(4, 2), ["a", "b", "c", "d"]], 2)
    [tensor([[0., 0.],
            [0., 0.]]), ['a', 'b']]
    """
    size = size_of(batch)
    return batch if size is None or size <= count else _cut(batch, size, count)


def _cut(part: Any, size: int, count: int) -> Any:
    if isinstance(part, Tensor):
        return part[:count] if part.dim() else part
    if isinstance(part, dict):
        return type(part)((key, _cut(item, size, count)) for key, item in part.items())
    if isinstance(part, (list, tuple)):
        if len(part) == size and not any(isinstance(item, (Tensor, dict, list, tuple)) for item in part):
            return type(part)(part[:count])
        items = [_cut(item, size, count) for item in part]
        return type(part)(*items) if hasattr(part, "_fields") else type(part)(items)
    return part


def _rows(part: Any) -> set[int | None]:
    """First dimensions of all tensors; ``None`` among them for what cannot be cut."""
    if type(part) is Tensor:
        return {part.shape[0]} if part.dim() else set()
    if isinstance(part, (list, tuple)) or type(part) is dict:
        items = part.values() if isinstance(part, dict) else part
        return {rows for item in items for rows in _rows(item)}
    return set() if part is None or isinstance(part, (int, float, str, bool)) else {None}


def _tensors(part: Any) -> list[Tensor]:
    """Tensors in plain containers; those in other objects are copied by the objects themselves."""
    if isinstance(part, Tensor):
        return [part]
    if isinstance(part, (list, tuple, dict)):
        return [tensor for item in (part.values() if isinstance(part, dict) else part) for tensor in _tensors(item)]
    return []
