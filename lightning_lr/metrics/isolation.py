"""Run a network as if nobody had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """While this lasts the network is in evaluation mode and records no gradients; afterwards all is as it was.

    Mode of each module (a frozen part may be in evaluation mode already), every buffer, and the random states of the
    CPU and of the device. Autocast is left as it is: the network runs in the precision of whoever calls.

    >>> network = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    >>> with untouched(network):
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
