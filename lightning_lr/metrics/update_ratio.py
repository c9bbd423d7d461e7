"""Update ratio: how far one step moves the weights of a layer, relative to their size."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from lightning_lr.metrics.probe import Named, StepProbe, squares


class UpdateRatio(StepProbe):
    r"""‖Δw‖/‖w‖ of one optimizer step, for each layer; over several measured steps, the root mean square.

    A rule of thumb puts a healthy ratio near 1e-3: far below, the network hardly moves; at 1e-2 and above each step
    rewrites a percent of the layer. The ratio of all is the median over the layers: one bias that starts at zero has a
    ratio without meaning.

    A layer is a module that owns parameters; frozen ones, and those whose weights are all zero, are left out.

    Args:
        every_n_steps: one step in so many is measured, beginning with the first after each check. 50: a measured step
            costs a copy of the weights and two passes over them, and a window of an epoch has a few.
        kwargs: for torchmetrics' ``Metric``.

    Source:
        A. Karpathy, lectures on training networks: the update-to-weight ratio "should be somewhere around 1e-3".

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.constant_(layer.weight, 1.0)
    >>> ratio = UpdateRatio()
    >>> before = ratio.copy_of(layer)
    >>> with torch.no_grad():
    ...     layer.weight.sub_(0.001)
    Parameter containing:
    tensor([[0.9990, 0.9990]], requires_grad=True)
    >>> ratio.update(layer, before)
    >>> round(float(ratio.compute()["update_ratio"]), 6)
    0.001
    """

    moved: Tensor
    weight: Tensor

    def __init__(self, every_n_steps: int = 50, **kwargs: Any) -> None:
        super().__init__(every_n_steps, **kwargs)
        self.layers: tuple[str, ...] = ()

    def copy_of(self, module: nn.Module) -> list[Tensor]:
        """The weights as they are before a step, for :meth:`update`."""
        self._attach_once(module)
        return [weight.clone() for weight in self._weights()]

    def update(self, module: nn.Module, before: Sequence[Tensor]) -> None:
        """Take one step into account.

        Args:
            module: the network, after the step.
            before: :meth:`copy_of` it, before the step.
        """
        self._attach_once(module)
        self._measure(before)

    def compute(self) -> dict[str, Tensor]:
        """``update_ratio``, the median over the layers, and ``update_ratio/<layer>``, each a scalar."""
        found = self.readings([*self.moved.tolist(), *self.weight.tolist()] if self.layers else [])
        return {name: torch.tensor(value) for name, value in found.items()}

    # --- as a probe -----------------------------------------------------------------------------------------------

    def attach(self, module: nn.Module, parameters: Sequence[Named]) -> None:
        """One layer for each module that owns some of these parameters."""
        super().attach(module, parameters)
        owners = [name.rpartition(".")[0] or "network" for name, _ in self._parameters_of]
        self.layers = tuple(dict.fromkeys(owners))
        self._layer_of = torch.tensor([self.layers.index(owner) for owner in owners], device=self.device)
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        for name in ("moved", "weight"):
            zeros = torch.zeros(len(self.layers), dtype=dtype, device=self.device)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def after_step(self) -> None:
        """See how far they went."""
        if self._before is not None:
            self._measure(self._before)
            self._before = None

    def totals(self) -> list[float]:
        """For each layer Σ‖Δw‖², then for each layer Σ‖w‖²."""
        return [*self.moved.tolist(), *self.weight.tolist()]

    def load_totals(self, totals: Sequence[float]) -> None:
        """Go on from this rank's own :meth:`totals`."""
        half = len(totals) // 2
        self.moved = torch.tensor(totals[:half], dtype=self.moved.dtype, device=self.moved.device)
        self.weight = torch.tensor(totals[half:], dtype=self.moved.dtype, device=self.moved.device)

    def readings(self, totals: Sequence[float]) -> dict[str, float]:
        """The ratio of each layer that moved from somewhere, and their median."""
        half = len(totals) // 2
        pairs = zip(self.layers, totals[:half], totals[half:], strict=True)
        ratios = {layer: (moved / weight) ** 0.5 for layer, moved, weight in pairs if weight > 0}
        if not ratios:
            return {}
        return {"update_ratio": median(ratios.values()), **{f"update_ratio/{k}": v for k, v in ratios.items()}}

    def _attach_once(self, module: nn.Module) -> None:
        if not self.layers:
            self.attach(module, list(module.named_parameters()))

    @torch.no_grad()
    def _measure(self, before: Sequence[Tensor]) -> None:
        moved = torch._foreach_sub(self._weights(), list(before))
        self.moved.index_add_(0, self._layer_of, squares(moved).to(self.moved.dtype))
        self.weight.index_add_(0, self._layer_of, squares(list(before)).to(self.weight.dtype))
