"""One condition a file. Each detector is a frozen dataclass of settings with one method, ``examine``."""

from lightning_lr.engine.detectors.base import Detector
from lightning_lr.engine.detectors.converged import ConvergedDetector
from lightning_lr.engine.detectors.divergence import DivergenceDetector
from lightning_lr.engine.detectors.gradient_disparity import GradientDisparityDetector
from lightning_lr.engine.detectors.improving import ImprovingDetector
from lightning_lr.engine.detectors.incoherence import IncoherenceDetector
from lightning_lr.engine.detectors.loss_spike import LossSpikeDetector
from lightning_lr.engine.detectors.non_finite import NonFiniteDetector
from lightning_lr.engine.detectors.oscillation import OscillationDetector
from lightning_lr.engine.detectors.overfitting import OverfittingDetector
from lightning_lr.engine.detectors.plateau import PlateauDetector
from lightning_lr.engine.detectors.slow_progress import SlowProgressDetector

__all__ = [
    "ConvergedDetector",
    "Detector",
    "DivergenceDetector",
    "GradientDisparityDetector",
    "ImprovingDetector",
    "IncoherenceDetector",
    "LossSpikeDetector",
    "NonFiniteDetector",
    "OscillationDetector",
    "OverfittingDetector",
    "PlateauDetector",
    "SlowProgressDetector",
    "default_detectors",
]


def default_detectors() -> tuple[Detector, ...]:
    """One of each, with the settings that the detection benchmark chose."""
    return (
        NonFiniteDetector(),
        DivergenceDetector(),
        OverfittingDetector(),
        PlateauDetector(),
        LossSpikeDetector(),
        ConvergedDetector(),
        # These ask only where a probe measures something.
        GradientDisparityDetector(),
        IncoherenceDetector(),
        OscillationDetector(),
        SlowProgressDetector(),
        ImprovingDetector(),
    )
