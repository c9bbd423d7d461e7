"""What :class:`~lightning_lr.LearningRateController` needs of a metric that looks inside the network.

A probe is a torchmetrics ``Metric`` and works without the controller. Driven by it, a probe is never synchronized by
torchmetrics: its sums travel as a few numbers in the one message that the ranks exchange at a check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

Named = tuple[str, nn.Parameter]
"""A parameter with its name in the module."""


class Probe(Metric):
    """A metric whose sums over ranks are a list of numbers.

    The controller calls ``attach`` once; ``before_step`` and ``after_step`` around each optimizer step; ``observe`` at
    each validation; ``look``, ``totals``, ``readings`` and ``restart`` at each check; ``detach`` at the end. A probe
    changes nothing that training could notice: no weight, gradient, buffer, random state or mode; and it makes the
    device wait at checks alone.
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or a pickle, is of the probe alone, without the network that it is attached to."""
        return {**super().__getstate__(), **self.unattached()}

    def compute(self) -> dict[str, Tensor]:
        """Quantity → scalar, of what could be measured."""
        return {name: torch.tensor(value) for name, value in self.readings(self.totals()).items()}

    def unattached(self) -> dict[str, Any]:
        """The attributes that hold on to the network, as they are without one."""
        return {}

    def attach(self, module: nn.Module, parameters: Sequence[Named]) -> None:
        """Get to know the network; from here on the length of :meth:`totals` is fixed.

        Args:
            module: the network.
            parameters: those of the first controlled optimizer, with their names.
        """

    def detach(self) -> None:
        """Let go of the network."""
        self.__dict__.update(self.unattached())

    def before_step(self) -> None:
        """Gradients are there, weights are still the old ones."""

    def after_step(self) -> None:
        """The weights are the new ones."""

    def observe(self, batch: Any) -> AbstractContextManager[None] | None:
        """A context in which the network validates its first batch; ``None`` where the probe does not look on."""
        return None

    def look(self, module: nn.Module) -> None:
        """Look at the network by itself, at a check."""

    def totals(self) -> list[float]:
        """This rank's sums since the last check, to be added to those of the other ranks; reads the device."""
        raise NotImplementedError

    def load_totals(self, totals: Sequence[float]) -> None:
        """Go on from this rank's own :meth:`totals`, after a resume."""
        raise NotImplementedError

    def readings(self, totals: Sequence[float]) -> dict[str, float]:
        """Quantity → value, from :meth:`totals` summed over ranks; only those that could be measured."""
        raise NotImplementedError

    def restart(self) -> None:
        """The sums were read: begin new ones."""
        self.reset()

    def forget(self) -> None:
        """The weights were exchanged: compare with nothing from before."""

    def memory(self) -> dict[str, Tensor]:
        """What later measurements compare with, beside the sums; on the CPU, for a checkpoint."""
        return {}

    def load_memory(self, memory: Mapping[str, Tensor]) -> None:
        """Go on from :meth:`memory`."""


class StepProbe(Probe):
    """A probe that measures one optimizer step in so many, beginning with the first after each check.

    Args:
        every_n_steps: how many.
        kwargs: for torchmetrics' ``Metric``.
    """

    fewest = 1
    """Least value of ``every_n_steps``."""

    def __init__(self, every_n_steps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if every_n_steps < self.fewest:
            raise ValueError(f"Expected `every_n_steps` to be at least {self.fewest} but got {every_n_steps}.")
        self.every_n_steps = every_n_steps
        self._parameters_of: list[Named] = []
        self._before: list[Tensor] | None = None
        self._step = 0

    def attach(self, module: nn.Module, parameters: Sequence[Named]) -> None:
        """Remember the parameters that train, and go to their device."""
        self._parameters_of = [(name, p) for name, p in parameters if p.requires_grad]
        device = self._weights()[0].device if self._parameters_of else torch.device("cpu")
        if device.type == "mps":
            self.set_dtype(torch.float32)
        self.to(device)

    def unattached(self) -> dict[str, Any]:
        """No parameters."""
        return {"_parameters_of": [], "_before": None}

    def before_step(self) -> None:
        """Copy the weights, at the steps that are measured."""
        if self._turn() == 0 and self._parameters_of:
            self._before = [weight.clone() for weight in self._weights()]

    def restart(self) -> None:
        """Begin new sums, with the next step."""
        self.reset()
        self._step, self._before = 0, None

    def memory(self) -> dict[str, Tensor]:
        """How many steps ago the window began."""
        return {"step": torch.tensor(self._step)}

    def load_memory(self, memory: Mapping[str, Tensor]) -> None:
        """Go on with the same count of steps."""
        self._step = int(memory["step"])

    def _turn(self) -> int:
        """Count a step; 0 if it is one of those that are measured."""
        self._step += 1
        return (self._step - 1) % self.every_n_steps

    def _weights(self) -> list[Tensor]:
        return [local(parameter) for _, parameter in self._parameters_of]


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that lies on this rank: no arithmetic on it ever talks to another rank."""
    detached = tensor.detach()
    return detached.to_local() if hasattr(detached, "to_local") else detached


def shards(tensor: Tensor) -> int:
    """Over how many ranks a tensor is spread; 1 where each holds the whole.

    >>> shards(torch.zeros(3))
    1
    """
    spread = 1
    for size, placement in zip(
        getattr(getattr(tensor, "device_mesh", None), "shape", ()), getattr(tensor, "placements", ()), strict=True
    ):
        spread *= size if placement.is_shard() else 1
    return spread


def squares(tensors: Sequence[Tensor]) -> Tensor:
    """Squared Euclidean norm of each tensor, in one go; shape ``[len(tensors)]``, float64 where the device has it.

    >>> squares([torch.ones(3), torch.full((2,), 2.0)]).tolist()
    [3.0, 8.0]
    """
    # Half-precision sums of squares overflow; float32 is what the foreach kernels are fast in.
    wide = [t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors]
    norms = torch.stack(list(torch._foreach_norm(wide)))
    return norms.to(torch.float32 if norms.device.type == "mps" else torch.float64).square()
