"""Run a forward pass without side effects: on the network, on the random numbers, and on what is logged."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric


@contextmanager
def isolated(network: nn.Module) -> Iterator[None]:
    """While this lasts the network is in evaluation mode and records no gradients; afterwards all is as it was.

    Mode of each module (a frozen part may be in evaluation mode already), every buffer, and the random states of the
    CPU and of the device. Autocast is left as it is: the network runs in the precision of the caller.

    >>> network = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    >>> with isolated(network):
    ...     print(network.training, network(torch.ones(3, 2)).requires_grad)
    False False
    >>> network.training, network[0].num_batches_tracked.item()
    (True, 0)
    """
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    on_device = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=on_device, device_type=device.type if on_device else "cuda"), torch.no_grad():
        network.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for buffer, kept in buffers:
                buffer.copy_(kept)


@contextmanager
def without_logging(module: nn.Module) -> Iterator[None]:
    """While this lasts ``log`` and ``log_dict`` do nothing; afterwards every torchmetrics metric is as it was.

    >>> class Step(nn.Module):
    ...     def log(self, name, value):
    ...         print(name, value)
    >>> step = Step()
    >>> with without_logging(step):
    ...     step.log("val_loss", 1.0)
    >>> step.log("val_loss", 2.0)
    val_loss 2.0
    """
    metrics = [m for m in module.modules() if isinstance(m, Metric)]
    kept = [(m, _states_of(m), m._update_count, m._computed) for m in metrics]
    own: dict[str, Any] = {name: module.__dict__[name] for name in ("log", "log_dict") if name in module.__dict__}
    module.__dict__.update(log=_nothing, log_dict=_nothing)
    try:
        yield
    finally:
        for name in ("log", "log_dict"):
            del module.__dict__[name]
        module.__dict__.update(own)
        for metric, state, count, computed in kept:
            for name, value in state.items():
                setattr(metric, name, value)
            metric._update_count, metric._computed = count, computed


def _states_of(metric: Metric) -> dict[str, Any]:
    """A copy of what a metric has collected, a tensor or a list a state; torchmetrics 1.0 has no method for it."""
    return {name: _copied(getattr(metric, name)) for name in metric._defaults}


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return [_copied(one) for one in value] if isinstance(value, list) else copy.deepcopy(value)


def _nothing(*_: Any, **__: Any) -> None:
    """In place of ``log``."""
