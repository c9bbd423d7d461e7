"""One callback for a Lightning Trainer that manages the learning rate.

::

    from lightning.pytorch import Trainer
    from lightning_lr import LearningRateController

    trainer = Trainer(max_epochs=30, callbacks=[LearningRateController(monitor="val_loss")])
    trainer.fit(model, datamodule)

The public names are resolved when they are first used (PEP 562): importing this package, its ``engine`` or the
command line loads neither torch nor Lightning.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_lr.__about__ import __version__

if TYPE_CHECKING:
    from lightning_lr.callbacks.controller import LearningRateController
    from lightning_lr.callbacks.fabric import FabricLearningRateController
    from lightning_lr.callbacks.layerwise import LayerwiseLearningRate
    from lightning_lr.engine.detectors.base import Detector
    from lightning_lr.engine.policies import (
        AutoPolicy,
        ConservativePolicy,
        ExponentialPolicy,
        HalvingPolicy,
        Policy,
        Response,
    )
    from lightning_lr.engine.records import Decision, Finding, MetricView, MetricViews
    from lightning_lr.engine.vocabulary import Action, Condition, Mode, Verdict
    from lightning_lr.metrics.critical_ratio import CriticalRatio
    from lightning_lr.metrics.gradient_disparity import GradientDisparity
    from lightning_lr.metrics.neuron_coherence import NeuronCoherence
    from lightning_lr.metrics.update_ratio import UpdateRatio
    from lightning_lr.offline.plot import plot
    from lightning_lr.run.options import Snapshots

__all__ = [
    "Action",
    "AutoPolicy",
    "Condition",
    "ConservativePolicy",
    "CriticalRatio",
    "Decision",
    "Detector",
    "ExponentialPolicy",
    "FabricLearningRateController",
    "Finding",
    "GradientDisparity",
    "HalvingPolicy",
    "LayerwiseLearningRate",
    "LearningRateController",
    "MetricView",
    "MetricViews",
    "Mode",
    "NeuronCoherence",
    "Policy",
    "Response",
    "Snapshots",
    "UpdateRatio",
    "Verdict",
    "__version__",
    "plot",
]

_HOME = {
    "Action": "lightning_lr.engine.vocabulary",
    "AutoPolicy": "lightning_lr.engine.policies",
    "Condition": "lightning_lr.engine.vocabulary",
    "ConservativePolicy": "lightning_lr.engine.policies",
    "CriticalRatio": "lightning_lr.metrics.critical_ratio",
    "Decision": "lightning_lr.engine.records",
    "Detector": "lightning_lr.engine.detectors.base",
    "ExponentialPolicy": "lightning_lr.engine.policies",
    "FabricLearningRateController": "lightning_lr.callbacks.fabric",
    "Finding": "lightning_lr.engine.records",
    "GradientDisparity": "lightning_lr.metrics.gradient_disparity",
    "HalvingPolicy": "lightning_lr.engine.policies",
    "LayerwiseLearningRate": "lightning_lr.callbacks.layerwise",
    "LearningRateController": "lightning_lr.callbacks.controller",
    "MetricView": "lightning_lr.engine.records",
    "MetricViews": "lightning_lr.engine.records",
    "Mode": "lightning_lr.engine.vocabulary",
    "NeuronCoherence": "lightning_lr.metrics.neuron_coherence",
    "Policy": "lightning_lr.engine.policies",
    "Response": "lightning_lr.engine.policies",
    "Snapshots": "lightning_lr.run.options",
    "UpdateRatio": "lightning_lr.metrics.update_ratio",
    "Verdict": "lightning_lr.engine.vocabulary",
    "plot": "lightning_lr.offline.plot",
}
"""Public name → the module that defines it."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next access finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
