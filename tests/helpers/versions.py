"""What the lowest versions of `make test-lowest` lack: each a condition with its reason."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer, callbacks

NEW_IN_2_6 = {
    "LearningRateFinder": "before Lightning 2.6 it loses what it found, and part of the first epoch, as it goes back",
    "WeightAveraging": "Lightning has it from 2.6 on",
    "a validation by the clock": "Lightning takes an interval of time from 2.6 on",
}
"""Callback or option → why it is left out of a run with an older Lightning."""

ANY_CHECKPOINT: dict[str, Any] = (
    {"weights_only": False} if "weights_only" in inspect.signature(Trainer.fit).parameters else {}
)
"""Argument of ``fit`` for checkpoints that hold more than tensors; an older Lightning loads them unasked."""

needs_fsdp2_on_cpu = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"), reason="torch 2.6 cannot gather shards (FSDP2) on the CPU"
)


def skip_if_new(*names: str) -> None:
    """Skip where Lightning is older than 2.6 and one of them is affected."""
    for name in names:
        if name in NEW_IN_2_6 and not hasattr(callbacks, "WeightAveraging"):
            pytest.skip(f"{name}: {NEW_IN_2_6[name]}")
