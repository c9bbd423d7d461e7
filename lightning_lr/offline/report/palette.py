"""One colour a condition, in every picture: that of its detector."""

from __future__ import annotations

from lightning_lr.engine.detectors import default_detectors
from lightning_lr.engine.vocabulary import Condition

OTHER = "#666666"
"""Colour of a recipe's marks, which answer to no condition."""

MONITORS = ("#111111", "#56B4E9", "#009E73", "#CC79A7")
"""The monitors, in the order in which the user named them."""

TRAINING = "#999999"
"""The training loss."""


def colour_of(condition: Condition) -> str:
    """Colour of a decision's mark."""
    return next((detector.color for detector in default_detectors() if detector.condition is condition), OTHER)
