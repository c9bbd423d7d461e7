"""Gradient, update and weight of every layer, multiplied with each other on the device, without waiting for it.

A measurement takes two steps. Before the first, the weights are copied (one copy of the trained parameters, in buffers
that are kept); before the second, the update is their difference, and the gradient is the one to compare it with::

    before step t:    buffers = w_t
    before step t+1:  u = w_{t+1} − buffers;  ⟨g, u⟩, ‖u‖², ‖g‖², ‖w‖² of each layer: 4 × L numbers, left on the device

Sharded parameters (FSDP2) give the products of this rank's shard. Products of all ranks are added up; what lies on
several ranks counts with its share, so that the sum is that of the whole parameter once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_lr.layerwise.rule import Products
from lightning_lr.snapshot.shards import local

ROWS = 4


class LayerProbe:
    """The measurements of one run.

    Args:
        layers: layer → its parameters.
        world_size: how many processes train together.
        sum_over_ranks: adds up lists of numbers over them.

    Attributes:
        opened: whether the first half of a measurement was made.

    Example:
        >>> layer = nn.Parameter(torch.tensor([2.0]))
        >>> probe = LayerProbe({"one": [layer]})
        >>> probe.open()
        >>> layer.data, layer.grad = torch.tensor([1.5]), torch.tensor([3.0])
        >>> probe.close()
        >>> probe.read()[0][0]
        Products(dot=-1.5, update=0.25, gradient=9.0, weight=2.25)
    """

    def __init__(
        self,
        layers: Mapping[str, Sequence[nn.Parameter]],
        world_size: int = 1,
        sum_over_ranks: Callable[[list[float]], list[float]] = list,
    ) -> None:
        self.world_size, self.sum_over_ranks = world_size, sum_over_ranks
        self.opened = False
        self._parameters = [one for parameters in layers.values() for one in parameters]
        self._layer = [at for at, parameters in enumerate(layers.values()) for _ in parameters]
        self._count = len(layers)
        self._buffers: list[Tensor] = []
        self._index = torch.empty(0)
        self._shares = torch.empty(0)
        self._pending: list[Tensor] = []
        self._summed: list[list[float]] = []

    def __len__(self) -> int:
        """How many measurements wait to be read."""
        return len(self._pending) + len(self._summed)

    @torch.no_grad()
    def open(self) -> None:
        """Copy the weights: the first half."""
        weights = [local(one) for one in self._parameters]
        if not _fits(self._buffers, weights):
            self._buffers = [torch.empty_like(one) for one in weights]
        torch._foreach_copy_(self._buffers, weights)
        self.opened = True

    @torch.no_grad()
    def close(self) -> None:
        """The second half; the gradients must be there."""
        self.opened = False
        weights = [local(one) for one in self._parameters]
        if not _fits(self._buffers, weights):
            return  # moved to another device, or sharded anew, in between
        found = [None if one.grad is None or one.grad.is_sparse else local(one.grad) for one in self._parameters]
        gradients = [torch.zeros_like(w) if g is None else g.to(w.dtype) for g, w in zip(found, weights, strict=True)]
        torch._foreach_sub_(self._buffers, weights)  # −u, in place: no second copy
        squares = [torch.stack(torch._foreach_norm(some)) ** 2 for some in (self._buffers, gradients, weights)]
        torch._foreach_mul_(self._buffers, gradients)
        dots = -torch.stack([product.sum() for product in self._buffers])
        self._pending.append(self._by_layer(torch.stack([dots, *squares])))

    def drop(self) -> None:
        """Forget the first half: something else than a step is about to change the weights."""
        self.opened = False

    def _by_layer(self, rows: Tensor) -> Tensor:
        """Add up the columns of each layer."""
        if not len(self._index) or self._index.device != rows.device:
            self._index = torch.tensor(self._layer, device=rows.device)
            shares = [_share(one, self.world_size) for one in self._parameters]
            self._shares = torch.tensor(shares, device=rows.device)
        rows = rows.float() * self._shares
        return rows.new_zeros(ROWS, self._count).index_add_(1, self._index, rows)

    def collect(self) -> None:
        """Add up over the ranks what is pending: one all-reduce, of 4 × L numbers a measurement."""
        if self._pending:
            flat = torch.stack([one.flatten() for one in self._pending]).flatten().tolist()
            total = self.sum_over_ranks(flat)
            size = ROWS * self._count
            self._summed += [total[at : at + size] for at in range(0, len(total), size)]
            self._pending = []

    def read(self) -> list[list[Products]]:
        """All measurements since the last call: for each, the products of every layer."""
        self.collect()
        read = [
            [Products(*(one[row * self._count + layer] for row in range(ROWS))) for layer in range(self._count)]
            for one in self._summed
        ]
        self._summed = []
        return read

    def has_gradients(self) -> bool:
        """Whether any parameter has a gradient."""
        return any(one.grad is not None for one in self._parameters)

    def state(self) -> list[list[float]]:
        """What was collected and not yet read."""
        return [list(one) for one in self._summed]

    def load(self, state: Sequence[Sequence[float]]) -> None:
        """Go on with what was collected before."""
        size = ROWS * self._count
        self._summed = [list(one) for one in state if len(one) == size]


def _fits(buffers: Sequence[Tensor], weights: Sequence[Tensor]) -> bool:
    return len(buffers) == len(weights) and all(
        b.shape == w.shape and b.device == w.device and b.dtype == w.dtype
        for b, w in zip(buffers, weights, strict=True)
    )


def _share(parameter: Any, world_size: int) -> float:
    """One over the number of ranks that hold the same part of it."""
    placements = getattr(parameter, "placements", None)
    if placements is None:
        return 1.0 / world_size
    copies = 1
    for dimension, placement in enumerate(placements):
        if not placement.is_shard():
            copies *= parameter.device_mesh.size(dimension)
    return 1.0 / copies
