"""The first update of the weights: kept, moved along, and rescaled in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lightning_lr.snapshot.constant import bytes_of

ON_THE_LINE = 0.02
"""How far from the line a tensor may lie, as a share of its distance from the start: less than rounding makes it."""


class FirstUpdate:
    """The weights before the first step of the optimizer and after it, and whatever lies on the line through both.

    While it lasts there are two more copies of the weights, on their device.

    >>> weights = torch.tensor([1.0, 1.0])
    >>> update = FirstUpdate({"lr-SGD": [weights]})
    >>> update.before_step(); _ = weights.sub_(0.5); update.after_step()
    True
    >>> update.move_to(4.0); weights.tolist()
    [-1.0, -1.0]
    >>> update.rescale({"lr-SGD": 2.0}); weights.tolist()
    [0.0, 0.0]

    Args:
        weights: name of a parameter group's rate → its parameters.
    """

    def __init__(self, weights: Mapping[str, Sequence[Tensor]]) -> None:
        self.weights = {name: list(tensors) for name, tensors in weights.items()}
        self._start: list[Tensor] = []
        self._end: list[Tensor] = []

    @property
    def all(self) -> list[Tensor]:
        """The weights themselves."""
        return [tensor for tensors in self.weights.values() for tensor in tensors]

    @property
    def bytes(self) -> int:
        """Size of one copy."""
        return bytes_of(self.all)

    @torch.no_grad()
    def before_step(self) -> None:
        """Keep the weights; called again, those of then."""
        self._start = [tensor.detach().clone() for tensor in self.all]

    @torch.no_grad()
    def after_step(self) -> bool:
        """Keep the weights after the step; ``False`` if it was skipped, and has changed none."""
        pairs = list(zip(self.all, self._start, strict=False))
        if not any(bool((tensor != start).any()) for tensor, start in pairs):
            return False
        self._end = [tensor.detach().clone() for tensor in self.all]
        return True

    @torch.no_grad()
    def move_to(self, multiple: float) -> None:
        """Put the weights at a multiple of the update: 0 is the start, 1 where the step has led to."""
        for tensor, start, end in zip(self.all, self._start, self._end, strict=True):
            tensor.copy_(_between(start, end, multiple))

    @torch.no_grad()
    def rescale(self, ratios: Mapping[str, float], others: Iterable[Tensor] = ()) -> None:
        """Put the weights where the step would have led at other rates, and let the copies go.

        Args:
            ratios: name of a group's rate → by how much it was multiplied since.
            others: tensors that may be averages of the weights: those that lie between the start and the end follow.
        """
        multiples = [ratios.get(name, 1.0) for name, tensors in self.weights.items() for _ in tensors]
        lines = [line for line in zip(self.all, self._start, self._end, multiples, strict=False) if line[-1] != 1.0]
        weights = set(map(id, self.all))
        for other in [other for other in others if lines and id(other) not in weights]:
            _follow(other, lines)
        for tensor, start, end, multiple in lines:
            tensor.copy_(_between(start, end, multiple))
        self._start, self._end = [], []

    def put_back(self) -> None:
        """As the step has left them."""
        if self._end:
            self.move_to(1.0)


def _follow(other: Tensor, lines: Sequence[tuple[Tensor, Tensor, Tensor, float]]) -> None:
    """Move a tensor that lies on the line from the start of a weight to its end, as an average or a copy of it does."""
    for _, start, end, multiple in lines:
        if (other.shape, other.dtype, other.device) != (start.shape, start.dtype, start.device):
            continue
        line, there = (end - start).double(), (other - start).double()
        share = float((there * line).sum() / (line * line).sum().clamp_min(1e-300))
        rounding = 2 * torch.finfo(start.dtype).eps * float(start.double().norm())
        length, apart = abs(share) * float(line.norm()), float((there - share * line).norm())
        # Far beyond both ends lies any tensor that begins elsewhere, like running means beside weights of one.
        between = -ON_THE_LINE <= share <= 1 + ON_THE_LINE
        if between and length > 2 * rounding and apart <= ON_THE_LINE * length + rounding:
            other.copy_(_between(start, end, multiple * share))
            return


def _between(start: Tensor, end: Tensor, multiple: float) -> Tensor:
    """The very tensors at 0 and 1; between and beyond them in single precision at least."""
    if multiple in (0.0, 1.0):
        return end if multiple else start
    wide = torch.promote_types(start.dtype, torch.float32)
    return start.to(wide) + multiple * (end.to(wide) - start.to(wide))
