"""How much memory is free for a moment, on a device or on the host."""

from __future__ import annotations

import math
from pathlib import Path

import torch


def free_bytes(device: torch.device) -> float:
    """Bytes that a few more tensors may take there; infinite if it cannot be told."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return float(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return _host() if device.type == "cpu" else math.inf


def _host() -> float:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return math.inf
    kilobytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024.0 * float(kilobytes[0]) if kilobytes else math.inf
