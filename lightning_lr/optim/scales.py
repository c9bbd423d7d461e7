"""Who scales the learning rate, by how much, and within which bounds: plain numbers, one per parameter group.

Each callback that adjusts rates is an *owner* with a scale and bounds of its own. The product of the scales is applied
and, of the bounds, the narrowest; so callbacks that know nothing of each other compose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import mul

from lightning_lr.engine.bounds import bounded, check_bounds, check_scale
from lightning_lr.errors import ArgumentError

PARTS = ("curve",)
"""Scales of a callback beside that of its decisions: of the curve over the budget; ``owner/part``."""


@dataclass
class Share:
    """Scale and bounds of one owner, per group; at first, nothing that changes anything."""

    scale: list[float]
    lower: list[float]
    upper: list[float]


class Scales:
    """The scales of all owners over ``count`` groups.

    >>> scales = Scales(2)
    >>> scales.set("plateau", 0.5)
    >>> scales.set("layerwise", [1.0, 0.1])
    >>> scales.product, scales.applied([0.1, 0.1])
    ([0.5, 0.05], [0.05, 0.005])

    Attributes:
        product: the product of the scales, per group.
        neutral: whether every scheduled rate is applied as it is.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._shares: dict[str, Share] = {}
        self._combine()

    def of(self, owner: str) -> list[float]:
        """The scale of one owner; 1 if it never set one."""
        return list(self._shares[owner].scale) if owner in self._shares else [1.0] * self._count

    def set(self, owner: str, scales: float | Sequence[float]) -> None:
        """Replace the scale of one owner."""
        wanted = self._per_group(scales, "scales")
        for scale in {*wanted}:
            check_scale(scale)
        self._share(owner).scale = wanted
        self._combine()

    def multiply(self, owner: str, factor: float, groups: Iterable[int] | None = None) -> None:
        """Multiply the scale of one owner, in all groups or in some."""
        chosen = set(range(self._count) if groups is None else groups)
        if not chosen <= set(range(self._count)):
            raise ArgumentError(f"Expected groups to be indices below {self._count} but got {sorted(chosen)}.")
        self.set(owner, [s * factor if i in chosen else s for i, s in enumerate(self.of(owner))])

    def bound(
        self, owner: str, min_lr: float | Sequence[float] = 0.0, max_lr: float | Sequence[float] | None = None
    ) -> None:
        """Replace the bounds of one owner."""
        lower = self._per_group(min_lr, "min_lr")
        upper = self._per_group(math.inf if max_lr is None else max_lr, "max_lr")
        for low, high in zip(lower, upper, strict=True):
            check_bounds(low, None if max_lr is None else high)
        share = self._share(owner)
        share.lower, share.upper = lower, upper
        self._combine()

    def grow(self, likes: Sequence[int | None]) -> None:
        """Add groups, each with the scales of the group named, or with 1 for ``None``; bounds as the last group's.

        If all of them follow a curve, or a sweep, a new one does as well.
        """
        for owner, share in self._shares.items():
            follows = owner.rpartition("/")[2] in PARTS and len({*share.scale}) == 1
            shared = share.scale[0] if follows else 1.0
            share.scale += [shared if like is None else share.scale[like] for like in likes]
            share.lower += (share.lower[-1:] or [0.0]) * len(likes)
            share.upper += (share.upper[-1:] or [math.inf]) * len(likes)
        self._count += len(likes)
        self._combine()

    def shrink(self, count: int) -> None:
        """Forget all groups but the first ``count``."""
        for share in self._shares.values():
            del share.scale[count:], share.lower[count:], share.upper[count:]
        self._count = count
        self._combine()

    def applied(self, scheduled: Sequence[float]) -> list[float]:
        """The rate to apply in each group."""
        return [*map(bounded, scheduled, self.product, self._lower, self._upper)]

    def _combine(self) -> None:
        """The product of all scales, and the narrowest of all bounds."""
        self.product = [1.0] * self._count
        self._lower, self._upper = [0.0] * self._count, [math.inf] * self._count
        for share in self._shares.values():
            self.product = [*map(mul, self.product, share.scale)]
            self._lower, self._upper = [*map(max, self._lower, share.lower)], [*map(min, self._upper, share.upper)]
        self.neutral = self.product.count(1.0) == self._upper.count(math.inf) == self._count

    def _share(self, owner: str) -> Share:
        if owner not in self._shares:
            count = self._count
            self._shares[owner] = Share([1.0] * count, [0.0] * count, [math.inf] * count)
            # In an order that a resumed run repeats: a product of floats depends on it.
            self._shares = {name: self._shares[name] for name in sorted(self._shares)}
        return self._shares[owner]

    def _per_group(self, value: float | Sequence[float], name: str) -> list[float]:
        """One number for every group, from one or from as many."""
        if not isinstance(value, Sequence):
            return [float(value)] * self._count
        if len(value) != self._count:
            raise ArgumentError(
                f"Expected {name} to be one number, or one for each of the {self._count} parameter groups, "
                f"but got {len(value)} numbers."
            )
        return [float(one) for one in value]
