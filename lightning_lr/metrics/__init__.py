"""Measurements inside the network, as torchmetrics metrics: each is useful alone, and as a probe of the controller.

Imports nothing of ours; imported by `run` and `callbacks`. ``probe`` is what the controller calls, ``isolation`` runs
a forward pass without side effects.
"""

from lightning_lr.metrics.critical_ratio import CriticalRatio
from lightning_lr.metrics.gradient_disparity import GradientDisparity
from lightning_lr.metrics.neuron_coherence import NeuronCoherence
from lightning_lr.metrics.probe import Probe
from lightning_lr.metrics.update_ratio import UpdateRatio

__all__ = ["CriticalRatio", "GradientDisparity", "NeuronCoherence", "Probe", "UpdateRatio"]
