"""Critical ratio κ: how many times one update could be repeated before it no longer pays."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_lr.metrics.isolation import isolated, without_logging
from lightning_lr.metrics.probe import Named, StepProbe

MULTIPLES = (0, 2, 6, 20, 60, 200)
"""How often the update is repeated: five forward passes beside the one at the weights as they are, a third of a decade
apart. At a hundredth of the best rate κ is beyond the last of them, near the best below 10."""


class CriticalRatio(StepProbe):
    r"""κ, the multiple of the newest measured update Δw at which the loss of a fixed batch is back where it was.

    The loss at w + m·Δw is taken for m = 0, 2, 6, 20, 60, 200, forward passes only, on the first validation batch; in
    between κ is interpolated by a parabola. 0 where the loss has risen by the second repetition, 200 where it still
    lies below at the last. All losses are of one batch at one moment, so no noise between batches enters. A large κ
    means that the rate is too low. A small one means nothing: on a noisy path the update itself points anywhere, so κ
    must never lower a rate.

    Args:
        every_n_steps: one step in so many is measured, beginning with the first after each check; the newest counts.
            50: a measured step costs two passes over the weights, and at a rate that is too low κ hardly changes.
        loss: ``loss(module, batch)`` returns the loss of a batch as a tensor of one element. Without it
            ``validation_step`` is called, with its logging switched off and its metrics put back; what else it does,
            such as appending to a list, it then does six more times.
        kwargs: for torchmetrics' ``Metric``.

    >>> ratio = CriticalRatio()
    >>> ratio.update([1.0, 0.9, 0.8, 0.7, 1.1, 9.0])
    >>> float(ratio.compute()["critical_ratio"])
    56.0
    """

    losses: Tensor

    def __init__(
        self, every_n_steps: int = 50, loss: Callable[[nn.Module, Any], Tensor] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(every_n_steps, **kwargs)
        self.loss = loss
        self._module: nn.Module | None = None
        self._moved: list[Tensor] | None = None
        self.add_state("losses", torch.zeros(len(MULTIPLES), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, losses: Sequence[float] | Tensor) -> None:
        """Take the losses at the six multiples into account.

        Args:
            losses: at w + m·Δw for each m of ``MULTIPLES``.
        """
        self.losses += torch.as_tensor(losses).to(self.losses)

    # --- as a probe -----------------------------------------------------------------------------------------------

    def attach(self, module: nn.Module, parameters: Sequence[Named]) -> None:
        """Remember network and parameters."""
        super().attach(module, parameters)
        self._module = module

    def unattached(self) -> dict[str, Any]:
        """Neither network nor parameters."""
        return {**super().unattached(), "_module": None, "_moved": None}

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep how far they went: in the place of the copy."""
        if self._before is not None:
            torch._foreach_sub_(self._before, self._weights())
            torch._foreach_neg_(self._before)
            self._moved, self._before = self._before, None

    def observe(self, batch: Any) -> AbstractContextManager[None] | None:
        """Try the update further, on this batch, before the network validates it."""
        if self._moved is not None and self._module is not None:
            self.reset()
            losses = self._along(self._module, self._moved, batch)
            if losses is not None:
                self.update(losses)
        return None

    def totals(self) -> list[float]:
        """The losses; all zero where there was nothing to measure."""
        return [float(loss) for loss in self.losses.tolist()]

    def load_totals(self, totals: Sequence[float]) -> None:
        """Go on from this rank's own :meth:`totals`."""
        self.losses = torch.tensor(totals, dtype=self.losses.dtype, device=self.losses.device)

    def readings(self, totals: Sequence[float]) -> dict[str, float]:
        """κ of the losses summed over ranks."""
        return {"critical_ratio": crossing(totals)} if any(totals) and math.isfinite(totals[0]) else {}

    def restart(self) -> None:
        """Begin anew, with the next step."""
        self.reset()
        self.forget()

    def forget(self) -> None:
        """The update is of weights that are gone."""
        self._step, self._before, self._moved = 0, None, None

    def memory(self) -> dict[str, Tensor]:
        """How many steps ago the window began, and the update: a checkpoint within a window grows by the weights."""
        moved = {str(index): part.cpu() for index, part in enumerate(self._moved or ())}
        return {**super().memory(), **moved}

    def load_memory(self, memory: Mapping[str, Tensor]) -> None:
        """Go on with the same count of steps, and the same update."""
        super().load_memory(memory)
        parts = [memory[name] for name in map(str, range(len(self._parameters_of))) if name in memory]
        if parts and len(parts) == len(self._parameters_of):
            self._moved = [part.to(weight.device) for part, weight in zip(parts, self._weights(), strict=True)]

    @torch.no_grad()
    def _along(self, module: nn.Module, moved: list[Tensor], batch: Any) -> Tensor | None:
        weights = self._weights()
        kept = [weight.clone() for weight in weights]
        losses = []
        with isolated(module), without_logging(module):
            try:
                for multiple in MULTIPLES:
                    torch._foreach_copy_(weights, torch._foreach_add(kept, moved, alpha=multiple))
                    losses.append(self._loss(module, batch))
            finally:
                torch._foreach_copy_(weights, kept)
        known = [loss for loss in losses if loss is not None]
        return torch.stack(known) if len(known) == len(MULTIPLES) else None

    def _loss(self, module: nn.Module, batch: Any) -> Tensor | None:
        if self.loss is not None:
            return self.loss(module, batch).detach().double().reshape(())
        step: Callable[..., Any] = module.validation_step  # type: ignore[assignment]
        several = "dataloader_idx" in inspect.signature(step).parameters
        returned = step(batch, 0, dataloader_idx=0) if several else step(batch, 0)
        loss = returned.get("loss") if isinstance(returned, Mapping) else returned
        return loss.detach().double().reshape(()) if isinstance(loss, Tensor) and loss.numel() == 1 else None


def crossing(losses: Sequence[float]) -> float:
    """The multiple at which the loss is back at its first value: on the parabola through the two nearest and the first.

    >>> crossing([1.0, 1.5, 2.0, 3.0, 4.0, 5.0]), crossing([1.0, 0.9, 0.8, 0.7, 0.6, 0.5])
    (0.0, 200.0)
    """
    gains = [losses[0] - loss for loss in losses]
    for index in range(1, len(gains)):
        if not gains[index] > 0:  # not a number is no gain either
            low, high = MULTIPLES[index - 1], MULTIPLES[index]
            if index == 1:
                return 0.0
            start, end = gains[index - 1] / low, gains[index] / high
            bend = (start - end) / (high - low)
            return low + start / bend if math.isfinite(bend) else float(low)
    return float(MULTIPLES[-1])
