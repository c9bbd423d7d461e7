"""How much memory is free for a moment, on a device or on the host."""

from __future__ import annotations

import math

import torch

from lightning_lr.snapshot.host_memory import free_memory


def free_bytes(device: torch.device) -> float:
    """Bytes that a few more tensors may take there; infinite if it cannot be told."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return float(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return free_memory() if device.type == "cpu" else math.inf
