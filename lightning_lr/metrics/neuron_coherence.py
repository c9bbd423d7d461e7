"""Neuron coherence: do the neurons answer the same input in the same way as at the check before?"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from lightning_lr.metrics.activations import PRODUCERS, Watched, outside_fused, rows_of, watched_layers
from lightning_lr.metrics.isolation import isolated
from lightning_lr.metrics.probe import Named, Probe, local

ROWS = 256
"""Samples (and positions) of one layer that are looked at: the error of a share is then below 0.001 with 1000 units."""


WARN_AFTER = 2
"""Checks in a row at which the batch was another one, before the warning: once may be a resumed run."""


class NeuronCoherence(Probe):
    r"""Share of (unit, sample) pairs whose pre-activation changed its sign since the last look at the same batch.

    ====================  ===========================================================================================
    ``flip_rate``         changed signs/pairs, over all layers; ``flip_rate/<layer>`` for each. About 0.5 is chance.
    ``output_change``     ‖o − o′‖/‖o′‖: how much the output of the last linear or convolutional layer moved meanwhile.
    ``dead_units``        share of units that are positive for no sample, among those that can die.
    ``saturated_units``   share of units within a twentieth of their bounds for all samples (tanh, sigmoid, …).
    ====================  ===========================================================================================

    The input is the same, so nothing in it gives a neuron a reason to answer otherwise: what flips is the network.
    While it learns, that is as it should be. Where flips stay while the loss stands still, or while the output hardly
    changes, the steps shake the network to no avail: condition ``incoherence``.

    Alone, each :meth:`update` runs the network on the batch, in evaluation mode and without a trace. Driven by the
    controller, it looks on while Lightning validates its first batch, and costs no pass of its own; with ``loader`` it
    runs the network on that loader's batches instead.

    Args:
        layers: names (``*`` matches anything) or types of modules to watch. ``None``: all activation modules; where
            there are none, the outputs of linear and convolutional layers, which functional activations take.
        loader: batches to look at in place of the first validation batch; each must stay the same during the run.
        forward: how to run the network on a batch; by default on the batch itself, or on the first part of a tuple, a
            list or a mapping.
        rows: samples (and positions) of a layer looked at, at most.
        kwargs: for torchmetrics' ``Metric``.

    >>> network = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> coherence, batch = NeuronCoherence(), torch.tensor([[-1.0], [1.0]])
    >>> _ = nn.init.constant_(network[0].weight, 1.0), nn.init.constant_(network[0].bias, 0.0)
    >>> coherence.update(network, batch)
    >>> _ = nn.init.constant_(network[0].bias, 2.0)     # the sample −1 now comes out positive, in both units
    >>> coherence.update(network, batch)
    >>> float(coherence.compute()["flip_rate"])
    0.5
    """

    changed: Tensor
    pairs: Tensor
    output: Tensor

    def __init__(
        self,
        layers: Sequence[str | type[nn.Module]] | None = None,
        loader: Iterable[Any] | None = None,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        rows: int = ROWS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(layers, (str, type)):
            raise ValueError(f"Expected `layers` to be a list of names or types but got {layers!r}. Put it in a list.")
        if rows < 1:
            raise ValueError(f"Expected `rows` to be at least 1 but got {rows}.")
        self.layers = layers
        self.loader = loader
        self.forward_on = forward or _forward
        self.rows = rows
        self._watched: list[Watched] = []
        self._ends: list[nn.Module] = []
        self._units: list[int] = []
        self._loaded: list[float] = []
        self._index = self._others = 0
        self.forget()

    def update(self, network: nn.Module, batch: Any, index: int = 0) -> None:
        """Run the network on a batch, and compare with what it answered at the last :meth:`update` with that index.

        Args:
            network: any module.
            batch: what ``forward`` takes.
            index: which of several batches.
        """
        if not self._watched:
            self.attach(network, ())
        with isolated(network), self.watching(batch, index):
            self.forward_on(network, batch)

    @contextmanager
    def watching(self, batch: Any = None, index: int = 0) -> Iterator[None]:
        """While this lasts, the network may be run once on the batch, and is looked at.

        Args:
            batch: to tell whether it is the same as before; ``None``: it is taken on trust.
            index: which of several batches.
        """
        seen: dict[str, Tensor] = {}
        ended: dict[str, Any] = {}
        hooks = [self._hook(layer, seen) for layer in self._watched]
        hooks += [each.register_forward_hook(lambda m, i, output: ended.update(last=output)) for each in self._ends]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        last = ended.get("last")
        self._index = index
        self._take(seen, last if isinstance(last, Tensor) else None, batch)

    # --- as a probe -----------------------------------------------------------------------------------------------

    def attach(self, module: nn.Module, parameters: Sequence[Named]) -> None:
        """Find the layers."""
        self._watched = watched_layers(module, self.layers)
        if self.layers is not None and not self._watched:
            names = ", ".join(name for name, _ in module.named_modules() if name)
            raise ValueError(f"Expected `layers` to match a module but {list(self.layers)!r} matches none of: {names}.")
        self._ends = [each for _, each in outside_fused(module) if isinstance(each, PRODUCERS)]
        self._index = self._others = 0
        self._units = []
        self.forget()
        for name, size in (("changed", len(self._watched)), ("pairs", len(self._watched)), ("output", 2)):
            self.add_state(name, torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def unattached(self) -> dict[str, Any]:
        """No layers."""
        return {"_watched": [replace(layer, module=nn.Identity()) for layer in self._watched], "_ends": []}

    def observe(self, batch: Any) -> Any:
        """Look on while the network validates this batch; not where there is a loader to look at."""
        return None if self.loader is not None else self.watching(batch)

    def look(self, module: nn.Module) -> None:
        """Run the network on the batches of ``loader``, where there is one."""
        if self.loader is None:
            return
        device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
        with isolated(module):
            for index, batch in enumerate(self.loader):
                moved = tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, batch)
                with self.watching(moved, index):
                    self.forward_on(module, moved)

    def totals(self) -> list[float]:
        """Changed signs of each layer, pairs of each layer; Σ(o − o′)², Σo′²; dead of mortal, saturated of bounded."""
        return [*self.changed.tolist(), *self.pairs.tolist(), *self.output.tolist(), *self._unit_totals()]

    def load_totals(self, totals: Sequence[float]) -> None:
        """Go on from this rank's own :meth:`totals`."""
        count = len(self._watched)
        self.changed.copy_(torch.tensor(totals[:count]))
        self.pairs.copy_(torch.tensor(totals[count : 2 * count]))
        self.output.copy_(torch.tensor(totals[2 * count : 2 * count + 2]))
        self._loaded = list(totals[2 * count + 2 :])

    def readings(self, totals: Sequence[float]) -> dict[str, float]:
        """What could be measured; the shares of dead and saturated units are means over the ranks."""
        count = len(self._watched)
        changed, pairs = totals[:count], totals[count : 2 * count]
        apart, size, dead, mortal, saturated, bounded = totals[2 * count :]
        layers = {w.name: c / p for w, c, p in zip(self._watched, changed, pairs, strict=True) if p}
        shares = {
            "flip_rate": (sum(changed), sum(pairs)),
            "dead_units": (dead, mortal),
            "saturated_units": (saturated, bounded),
        }
        found = {name: part / whole for name, (part, whole) in shares.items() if whole}
        if 0 < size < math.inf and apart < math.inf:
            found["output_change"] = math.sqrt(apart / size)
        return {**found, **{f"flip_rate/{name}": rate for name, rate in layers.items()}}

    def reset(self) -> None:
        """Begin new sums; what was seen stays, to be compared with."""
        super().reset()
        self._loaded = []

    def forget(self) -> None:
        """Compare with nothing from before."""
        self._former: dict[str, Tensor] = {}

    def memory(self) -> dict[str, Tensor]:
        """Signs, outputs and fingerprints of the batches, as they were last seen."""
        return {key: value.cpu() for key, value in self._former.items()}

    def load_memory(self, memory: Mapping[str, Tensor]) -> None:
        """Go on from :meth:`memory`."""
        self._former = dict(memory)

    # --- one look -------------------------------------------------------------------------------------------------

    def _hook(self, layer: Watched, seen: dict[str, Tensor]) -> Any:
        """Only the first call of a module counts: where it is used twice, the second has other units."""

        def see(pre_activation: Any) -> None:
            if layer.name not in seen and isinstance(pre_activation, Tensor):
                seen[layer.name] = rows_of(local(pre_activation), layer.channels_first, self.rows).clone()

        if layer.is_activation:  # its input: an activation in place has overwritten it by the time it is done
            return layer.module.register_forward_pre_hook(lambda module, inputs: see(inputs[0] if inputs else None))
        return layer.module.register_forward_hook(lambda module, inputs, output: see(output))

    @torch.no_grad()
    def _take(self, seen: Mapping[str, Tensor], output: Tensor | None, batch: Any) -> None:
        same = self._is_same(batch)
        for index, layer in enumerate(self._watched):
            if layer.name in seen:
                rows = seen[layer.name]
                former = self._exchanged(f"sign/{layer.name}", rows > 0)
                if same and former is not None:
                    self.changed[index] += ((rows > 0) ^ former).sum().to(self.changed)
                    self.pairs[index] += rows.numel()
                self._count_units(index, layer, rows)
        if output is not None:
            now = rows_of(local(output), False, self.rows).float().clone()
            then = self._exchanged("output", now)
            if same and then is not None:
                self.output += torch.stack([(now - then).square().sum(), then.square().sum()]).to(self.output)

    def _exchanged(self, name: str, value: Tensor) -> Tensor | None:
        """What stood there at the last look, now that this takes its place; ``None`` where it cannot be compared."""
        key = f"{self._index}/{name}"
        former, self._former[key] = self._former.get(key), value
        return former.to(value.device) if former is not None and former.shape == value.shape else None

    def _is_same(self, batch: Any) -> bool:
        """Whether the batch is that of the last look; its numbers are compared, weighted by their places."""
        leaves = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.layout is torch.strided]
        if not leaves:
            return True
        fingerprint = torch.stack([_fingerprint(local(leaf)) for leaf in leaves])
        former = self._exchanged("batch", fingerprint)
        same = former is None or bool((former == fingerprint).all())
        self._others = 0 if same else self._others + 1
        if self._others == WARN_AFTER:
            warnings.warn(
                "NeuronCoherence: the first validation batch is another one at each check (a loader that shuffles, or "
                "random augmentation), so there is nothing to compare. Pass it a fixed one: NeuronCoherence(loader=…).",
                stacklevel=2,
            )
        return same

    def _count_units(self, index: int, layer: Watched, rows: Tensor) -> None:
        """For each unit of a layer: the samples for which it is positive, those within its bounds, and all."""
        inside = rows.abs() < layer.bound if layer.bound is not None else torch.ones_like(rows, dtype=torch.bool)
        counts = torch.stack([(rows > 0).sum(0), inside.sum(0), torch.full_like(inside.sum(0), len(rows))])
        name = f"units_{index}"
        if name not in self._defaults:
            self._units.append(index)
            self.add_state(
                name, torch.zeros_like(counts, dtype=torch.float64, device=self.changed.device), dist_reduce_fx="sum"
            )
        self._loaded = []
        getattr(self, name).add_(counts.to(self.changed))

    def _unit_totals(self) -> list[float]:
        """Dead units and those that can die, saturated units and those that can be."""
        if self._loaded:
            return self._loaded
        dead = mortal = saturated = bounded = 0.0
        for index in self._units:
            layer, (positive, inside, rows) = self._watched[index], getattr(self, f"units_{index}")
            if layer.dies and rows.any():
                dead, mortal = dead + int((positive == 0).sum()), mortal + len(rows)
            if layer.bound is not None and rows.any():
                saturated, bounded = saturated + int((inside == 0).sum()), bounded + len(rows)
        return [dead, mortal, saturated, bounded]


def _fingerprint(tensor: Tensor) -> Tensor:
    """One number that changes with any element, and with any exchange of two."""
    flat = tensor.reshape(-1).to(torch.float32 if tensor.device.type == "mps" else torch.float64)
    return torch.dot(flat, torch.linspace(1, 2, len(flat), dtype=flat.dtype, device=flat.device))


def _forward(network: nn.Module, batch: Any) -> Any:
    """On the inputs of a batch, which come first."""
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    return network(batch[0] if isinstance(batch, (list, tuple)) else batch)
