"""The same batches for every branch of a trial: the first branch's are kept, and the others train on them again.

Two rates that are judged on different batches differ by the luck of the draw; on the same ones, that luck cancels.
There is no nested loop: the Trainer goes on fetching batches, and ``training_step``, wrapped while the trial lasts,
is handed a kept one in place of the fetched one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection

from lightning_lr.run.patches import patch

LARGEST = 256 * 2**20
"""Bytes of batches that are kept at most; where they need more, each branch trains on batches of its own."""


class BatchCache:
    """Keeps batches, and hands them out again.

    Args:
        module: the LightningModule whose ``training_step`` is wrapped until :meth:`detach`.
        undo: the patches of the fit.

    Attributes:
        kept: the batches of the first branch; ``None`` where they cannot be kept.
    """

    def __init__(self, module: Any, undo: ExitStack) -> None:
        self.module = module
        self.kept: list[Any] | None = []
        self.place: int | None = None
        self._bytes = 0
        self._give_back: Callable[[], None] = lambda: None
        inner = module.training_step
        if "dataloader_iter" in inspect.signature(inner).parameters:
            self.kept = None  # the step fetches its batches itself
            return

        def training_step(batch: Any, *args: Any, **kwargs: Any) -> Any:
            return inner(self._exchanged(batch), *args, **kwargs)

        self._give_back = patch(module, "training_step", training_step, undo)

    def rewind(self) -> None:
        """From here on the kept batches come again, from the first."""
        self.place = 0

    def detach(self) -> None:
        """Give ``training_step`` back as it was, and let the batches go; calling it twice does no harm."""
        self._give_back()
        self.kept = None

    def state_dict(self) -> dict[str, Any]:
        """The batches themselves and the place among them."""
        return {"kept": self.kept, "place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was written; its batches lie on the host."""
        device = self.module.device
        self.kept = apply_to_collection(state["kept"], torch.Tensor, lambda tensor: tensor.to(device))
        self.place = state["place"]

    def _exchanged(self, batch: Any) -> Any:
        if self.kept is None:
            return batch
        if self.place is None:
            self._keep(batch)
            return batch
        if self.place < len(self.kept):
            batch = self.kept[self.place]
        self.place += 1
        return batch

    def _keep(self, batch: Any) -> None:
        assert self.kept is not None
        size = _size(batch)
        self._bytes += size or 0
        if size is None or self._bytes > LARGEST:
            self.kept = None
        else:
            self.kept.append(batch)


def _size(batch: Any) -> int | None:
    """Bytes of a batch; ``None`` where it holds what a checkpoint could not carry.

    >>> _size([torch.zeros(2, 3), {"id": 4}]), _size(object())
    (24, None)
    """
    if isinstance(batch, torch.Tensor):
        return batch.numel() * batch.element_size() if type(batch) is torch.Tensor else None
    if type(batch) in (list, tuple, dict):
        sizes = [_size(part) for part in (batch.values() if isinstance(batch, dict) else batch)]
        return None if None in sizes else sum(size for size in sizes if size is not None)
    return 0 if batch is None or type(batch) in (int, float, str, bool) else None
