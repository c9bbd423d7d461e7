"""Call a step of a LightningModule as if nobody had: nothing is logged, and its metrics stay as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torchmetrics import Metric


@contextmanager
def muted(module: nn.Module) -> Iterator[None]:
    """While this lasts ``log`` and ``log_dict`` do nothing; afterwards every torchmetrics metric is as it was.

    >>> class Step(nn.Module):
    ...     def log(self, name, value):
    ...         print(name, value)
    >>> step = Step()
    >>> with muted(step):
    ...     step.log("val_loss", 1.0)
    >>> step.log("val_loss", 2.0)
    val_loss 2.0
    """
    metrics = [m for m in module.modules() if isinstance(m, Metric)]
    kept = [(m, m._copy_state_dict(), m._update_count, m._computed) for m in metrics]
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


def _nothing(*_: Any, **__: Any) -> None:
    """Where a step wants to log."""
