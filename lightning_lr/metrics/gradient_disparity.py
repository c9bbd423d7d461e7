"""Gradient disparity: how far the gradients of two batches lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from lightning_lr.metrics.probe import Named, StepProbe, local, shards, squares


class GradientDisparity(StepProbe):
    r"""Distance ‖g₁ − g₂‖ between the gradients of two training batches, and the same relative to their size.

    ======================  =========================================================================================
    ``gradient_disparity``  √(mean over pairs of ‖g₁ − g₂‖²). Rising while the training loss falls: the network learns
                            its samples by heart, each batch pulls elsewhere (Forouzesh and Thiran 2021). Needs no
                            validation set.
    ``relative_disparity``  Σ‖g₁ − g₂‖²/Σ(‖g₁‖² + ‖g₂‖²), from 0 to 2. Near 0 the batches agree; at 1 they have nothing
                            in common, their gradients being orthogonal; above 1 they oppose each other: a step across
                            the valley and back (the sign of g₁·g₂, Pflug 1990).
    ======================  =========================================================================================

    Given to :meth:`update`, the gradients are of one point, as in the paper, and all pairs count. Driven by the
    controller, the gradients are those that training computes anyway, of two successive steps: no pass of its own, and
    so no trace. The weights move a little between them, which is what ``relative_disparity`` > 1 sees.

    The paper takes the mean of the distances and divides the loss of each sample by the deviation of the losses. Here
    the root mean square stands for the mean, so that sharded gradients add up; and the scaling is left out, since it
    needs the loss of each sample.

    Args:
        every_n_steps: one pair of successive steps in so many, beginning with the first after each check. 10: a pair
            costs a copy of the gradients and three passes over them, and its distance varies by a third from pair to
            pair, so that a window needs several.
        kwargs: for torchmetrics' ``Metric``.

    References:
        M. Forouzesh and P. Thiran, "Disparity Between Batches as a Signal for Early Stopping", 2021, arXiv:2107.06665.
        G. Ch. Pflug, "Non-asymptotic confidence bounds for stochastic approximation algorithms", 1990.

    >>> disparity = GradientDisparity()
    >>> disparity.update([torch.tensor([3.0, 0.0])], [torch.tensor([0.0, 4.0])])
    >>> {name: float(value) for name, value in disparity.compute().items()}
    {'gradient_disparity': 5.0, 'relative_disparity': 1.0}
    """

    fewest = 2  # a pair
    apart: Tensor
    sizes: Tensor
    pairs: Tensor

    def __init__(self, every_n_steps: int = 10, **kwargs: Any) -> None:
        super().__init__(every_n_steps, **kwargs)
        self._former: dict[str, Tensor] = {}
        self._spread = 1
        for name in ("apart", "sizes", "pairs"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, *gradients: Iterable[Tensor]) -> None:
        """Take all pairs of these gradients.

        Args:
            gradients: for each batch the gradients of all parameters, in the same order, at the same weights.
        """
        for one, other in combinations([list(map(local, each)) for each in gradients], 2):
            self._measure(one, other)

    # --- as a probe -----------------------------------------------------------------------------------------------

    def attach(self, module: nn.Module, parameters: Sequence[Named]) -> None:
        """Remember the parameters."""
        super().attach(module, parameters)
        self._spread = shards(self._parameters_of[0][1]) if self._parameters_of else 1

    def unattached(self) -> dict[str, Any]:
        """Neither parameters nor gradients."""
        return {**super().unattached(), "_former": {}}

    @torch.no_grad()
    def before_step(self) -> None:
        """Keep the gradient of one step, compare it with that of the next."""
        turn = self._turn()
        if turn > 1:
            return
        gradients = {name: local(p.grad) for name, p in self._parameters_of if p.grad is not None and _dense(p.grad)}
        if turn == 0:
            self._former = {name: gradient.clone() for name, gradient in gradients.items()}
            return
        both = [name for name in gradients if name in self._former]
        if both:
            self._measure([self._former[name] for name in both], [gradients[name] for name in both])
        self._former = {}

    def totals(self) -> list[float]:
        """Σ‖g₁ − g₂‖², Σ(‖g₁‖² + ‖g₂‖²), and how many pairs."""
        return [float(self.apart), float(self.sizes), float(self.pairs)]

    def load_totals(self, totals: Sequence[float]) -> None:
        """Go on from this rank's own :meth:`totals`."""
        for state, total in zip((self.apart, self.sizes, self.pairs), totals, strict=True):
            state.fill_(total)

    def readings(self, totals: Sequence[float]) -> dict[str, float]:
        """Both disparities, where there was a pair and a gradient."""
        apart, sizes, pairs = totals
        # Not a number compares as false: a gradient that overflowed says nothing of disparity.
        if not (pairs > 0 and 0 < sizes < float("inf") and apart < float("inf")):
            return {}
        return {"gradient_disparity": (apart / pairs) ** 0.5, "relative_disparity": apart / sizes}

    def restart(self) -> None:
        """Begin new sums, with the next step."""
        self.reset()
        self.forget()

    def forget(self) -> None:
        """Begin a new pair: the weights of the former gradient are gone."""
        self._step, self._former = 0, {}

    def memory(self) -> dict[str, Tensor]:
        """How far the window is, and the gradient that waits for its partner."""
        return {**super().memory(), **{name: g.cpu() for name, g in self._former.items()}}

    def load_memory(self, memory: Mapping[str, Tensor]) -> None:
        """Go on with the same count of steps, and the same gradient."""
        super().load_memory(memory)
        device = self.apart.device
        self._former = {name: g.to(device) for name, g in memory.items() if name != "step"}

    @torch.no_grad()
    def _measure(self, one: list[Tensor], other: list[Tensor]) -> None:
        self.apart += squares(torch._foreach_sub(one, other)).sum().to(self.apart)
        self.sizes += (squares(one).sum() + squares(other).sum()).to(self.sizes)
        # A shard is a share of a pair: the sums over ranks then count each pair once, as replicated gradients do.
        self.pairs += 1 / self._spread


def _dense(gradient: Tensor) -> bool:
    return gradient.layout is torch.strided
