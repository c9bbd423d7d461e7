"""The training loss between two checks, gathered without making the device wait.

``float(loss)`` at every step stalls the queue of a GPU. Here a step only puts its detached loss into a list; every
256 of them are stacked into one tensor, on the device and asynchronously; and a check reads all at once, with one
synchronization however many steps there were.

What is kept is bounded: at most 32 blocks of equally many steps, each with the sum of its finite losses and two
counts. A long window has longer blocks, not more. All three numbers, and the header, can be added over ranks, so
one all-reduce of :meth:`LossWindow.totals` gives every rank the window of the whole run.

The sums are made one step after the other in float64, hence they do not depend on *when* the device was read. A
checkpoint reads early, and the resumed run must still agree with the unkilled one to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from lightning_lr.engine.records import TrainWindow
from lightning_lr.snapshot.shards import local

BLOCKS = 32
"""Blocks at most. 17 to 32 of them once a window is long: enough for a slope test, and one small message."""

CHUNK = 256
"""Losses that wait as tensors of their own, before they are stacked: on a GPU each one holds 512 bytes."""

LARGEST = 1e300
"""A loss beyond this counts as not finite, because a sum of a hundred million of them would overflow."""

HEADER = 3

TOTALS = HEADER + 3 * BLOCKS
"""How many numbers a window is, whatever it holds."""

_dtype = attrgetter("dtype")


class LossWindow:
    """The losses of the steps since the last :meth:`restart`.

    A loss that is kept must not be overwritten later. Lightning hands over a clone under automatic optimization;
    with manual optimization, a ``training_step`` that reuses one tensor for its loss should return a clone.

    Example:
        >>> window = LossWindow()
        >>> for loss in (4.0, 2.0, float("nan"), 3.0):
        ...     window.append(torch.tensor(loss))
        >>> print(window_from_totals(window.totals(), world_size=1))
        training loss 3 over 4 steps, 1 not finite
    """

    def __init__(self) -> None:
        self.smallest = 1
        self.restart()

    def block_of(self, steps: int) -> None:
        """From the next window on, begin with blocks of so many steps: short windows are then as noisy as long ones."""
        self.smallest = steps
        if not self._blocks:
            self._block_size = steps

    def restart(self) -> None:
        """Begin a new window; what has not been read is dropped."""
        self._pending: list[Tensor] = []
        self._chunks: list[Tensor] = []
        self._factors: list[int] = []
        self._block_size = self.smallest
        self._blocks: list[list[float]] = []

    def append(self, outputs: Any, accumulation: int = 1) -> None:
        """Take note of one step's loss.

        Args:
            outputs: what ``on_train_batch_end`` receives: a tensor of one element, or a dict with one under
                ``"loss"``. Anything else means that the step had no loss, and is left out.
            accumulation: ``trainer.accumulate_grad_batches`` at this step. Lightning divides the loss by it, and
                it may change in mid-run, so it is multiplied back step by step, when the values are read.
        """
        loss = loss_of(outputs)
        if loss is None:
            return
        self._pending.append(loss)
        self._factors.append(accumulation)
        if len(self._pending) == CHUNK:
            self._chunks.append(joined(self._pending))
            self._pending = []

    def fold(self, beside: Sequence[Tensor] = ()) -> list[float]:
        """Read what has gathered on the device: one synchronization, or none where there is nothing.

        Args:
            beside: tensors of one element to read in the same breath.

        Returns:
            The values of those.
        """
        waiting = [*self._chunks, *([joined(self._pending)] if self._pending else []), *beside]
        if not waiting:
            return []
        values, factors = joined(waiting).tolist(), self._factors
        self._pending, self._chunks, self._factors = [], [], []
        for value, factor in zip(values, factors, strict=False):
            self._add(value * factor)
        return [float(value) for value in values[len(factors) :]]

    def _add(self, loss: float) -> None:
        if not self._blocks or self._blocks[-1][1] + self._blocks[-1][2] == self._block_size:
            self._open_block()
        block = self._blocks[-1]
        if -LARGEST <= loss <= LARGEST:  # False for NaN as well
            block[0] += loss
            block[1] += 1
        else:
            block[2] += 1

    def _open_block(self) -> None:
        if len(self._blocks) == BLOCKS:
            pairs = zip(self._blocks[::2], self._blocks[1::2], strict=True)
            self._blocks = [[a + b for a, b in zip(left, right, strict=True)] for left, right in pairs]
            self._block_size *= 2
        self._blocks.append([0.0, 0, 0])

    def totals(self) -> list[float]:
        """The window as 99 numbers, to be added to those of the other ranks; reads the device.

        Three of header (block size, its square, whether the newest block has a finite loss), then for each of 32
        blocks: sum of the finite losses, how many were finite, how many were not. Blocks that do not exist are zero.
        """
        self.fold()
        size = float(self._block_size)
        ends_finite = float(bool(self._blocks) and self._blocks[-1][1] > 0)
        numbers = [float(number) for block in self._blocks for number in block]
        return [size, size * size, ends_finite, *numbers, *[0.0] * (3 * BLOCKS - len(numbers))]

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, never more than 32 blocks; reads the device."""
        self.fold()
        return {"version": 1, "block_size": self._block_size, "blocks": [list(block) for block in self._blocks]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the window of a run that was interrupted."""
        self.restart()
        self._block_size = state["block_size"]
        self._blocks = [list(block) for block in state["blocks"]]

    def load_totals(self, totals: Sequence[float]) -> None:
        """Go on from this rank's own :meth:`totals`."""
        self.restart()
        self._block_size = int(totals[0])
        blocks = [list(totals[at : at + 3]) for at in range(HEADER, len(totals), 3)]
        self._blocks = [[total, int(finite), int(lost)] for total, finite, lost in blocks if finite + lost]


def loss_of(outputs: Any) -> Tensor | None:
    """The loss in what ``on_train_batch_end`` receives, cut off from its graph; ``None`` where there is none."""
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        return None
    return loss.detach() if loss.requires_grad else loss


def window_from_totals(totals: Sequence[float], world_size: int) -> TrainWindow | None:
    """The record, from :meth:`LossWindow.totals` summed over ranks.

    Ranks normally take the same steps. Should one have left out a loss that another counted, their blocks may
    differ in size and cannot be laid upon each other: then there is one block, the mean. The square in the header
    shows it: sizes are equal exactly if the mean of the squares is the square of the mean.

    Args:
        totals: the element-wise sum over the ranks.
        world_size: how many ranks it covers.

    Returns:
        The window, or ``None`` where no rank had a loss.
    """
    size, square, ends_finite = (number / world_size for number in totals[:HEADER])
    blocks = [tuple(totals[at : at + 3]) for at in range(HEADER, len(totals), 3)]
    finite, lost = _added(block[1] for block in blocks), _added(block[2] for block in blocks)
    if not finite + lost:
        return None
    mean = _added(block[0] for block in blocks) / finite if finite else nan
    means = tuple(block[0] / block[1] for block in blocks if block[1])
    aligned = square == size * size
    return TrainWindow(
        mean=mean,
        blocks=means if aligned else means and (mean,),
        steps=round((finite + lost) / world_size),
        non_finite=int(lost),
        ends_non_finite=ends_finite == 0,
    )


def _added(numbers: Any) -> float:
    """One after the other: the built-in ``sum`` rounds differently from Python 3.12 on."""
    total = 0.0
    for number in numbers:
        total += number
    return total


def joined(tensors: list[Tensor]) -> Tensor:
    """All elements in a row, on the device. Mixed types are widened first, so that no value is rounded."""
    # Sets of what `map` finds: 256 turns of a Python loop would take longer than the stacking.
    if {*map(type, tensors)} != {Tensor}:
        tensors = list(map(local, tensors))
    if len({*map(_dtype, tensors)}) > 1 or len({*map(Tensor.get_device, tensors)}) > 1:
        wide = torch.float32 if tensors[0].device.type == "mps" else torch.float64
        tensors = [tensor.to(tensors[0].device, wide) for tensor in tensors]
    if {*map(Tensor.dim, tensors)} == {0}:
        return torch.stack(tensors)  # a third of the time of 256 reshapes
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
