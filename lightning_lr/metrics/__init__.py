"""Measurements inside the network, as torchmetrics metrics: each is useful alone, and as a probe of the controller.

They are loaded when they are first used (PEP 562): most runs have none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_lr.metrics.critical_ratio import CriticalRatio
    from lightning_lr.metrics.gradient_disparity import GradientDisparity
    from lightning_lr.metrics.neuron_coherence import NeuronCoherence
    from lightning_lr.metrics.probe import Probe
    from lightning_lr.metrics.update_ratio import UpdateRatio

__all__ = ["CriticalRatio", "GradientDisparity", "NeuronCoherence", "Probe", "UpdateRatio"]

_HOME = {
    "CriticalRatio": "critical_ratio",
    "GradientDisparity": "gradient_disparity",
    "NeuronCoherence": "neuron_coherence",
    "Probe": "probe",
    "UpdateRatio": "update_ratio",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # the next access finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
