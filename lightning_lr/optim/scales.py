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

CURVE = "/curve"
"""Ends the name of the owner that is a callback's curve over the budget, beside that of its decisions."""


@dataclass
class OwnerScale:
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
        self._owners: dict[str, OwnerScale] = {}
        self._combine()

    def of(self, owner: str) -> list[float]:
        """The scale of one owner; 1 if it never set one."""
        return list(self._owners[owner].scale) if owner in self._owners else [1.0] * self._count

    def set(self, owner: str, scales: float | Sequence[float]) -> None:
        """Replace the scale of one owner."""
        wanted = self._per_group(scales, "scales")
        for scale in {*wanted}:
            check_scale(scale)
        self._owned(owner).scale = wanted
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
        own = self._owned(owner)
        own.lower, own.upper = lower, upper
        self._combine()

    def grow(self, likes: Sequence[int | None]) -> None:
        """Add groups, each with the scales of the group named, or with 1 for ``None``; bounds as the last group's.

        If all of them follow a curve, a new one does as well.
        """
        for owner, own in self._owners.items():
            follows = owner.endswith(CURVE) and len({*own.scale}) == 1
            common = own.scale[0] if follows else 1.0
            own.scale += [common if like is None else own.scale[like] for like in likes]
            own.lower += (own.lower[-1:] or [0.0]) * len(likes)
            own.upper += (own.upper[-1:] or [math.inf]) * len(likes)
        self._count += len(likes)
        self._combine()

    def shrink(self, count: int) -> None:
        """Forget all groups but the first ``count``."""
        for own in self._owners.values():
            del own.scale[count:], own.lower[count:], own.upper[count:]
        self._count = count
        self._combine()

    def applied(self, scheduled: Sequence[float]) -> list[float]:
        """The rate to apply in each group."""
        return [*map(bounded, scheduled, self.product, self._lower, self._upper)]

    def _combine(self) -> None:
        """The product of all scales, and the narrowest of all bounds."""
        self.product = [1.0] * self._count
        self._lower, self._upper = [0.0] * self._count, [math.inf] * self._count
        for own in self._owners.values():
            self.product = [*map(mul, self.product, own.scale)]
            self._lower, self._upper = [*map(max, self._lower, own.lower)], [*map(min, self._upper, own.upper)]
        self.neutral = self.product.count(1.0) == self._upper.count(math.inf) == self._count

    def _owned(self, owner: str) -> OwnerScale:
        if owner not in self._owners:
            count = self._count
            self._owners[owner] = OwnerScale([1.0] * count, [0.0] * count, [math.inf] * count)
            # In an order that a resumed run repeats: a product of floats depends on it.
            self._owners = {name: self._owners[name] for name in sorted(self._owners)}
        return self._owners[owner]

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
