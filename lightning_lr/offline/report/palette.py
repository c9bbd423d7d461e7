"""One colour a condition, in every picture: that of its detector."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_lr.engine.detectors import Detector, default_detectors
from lightning_lr.engine.vocabulary import Condition

OTHER = "#666666"
"""Colour of a recipe's marks, which answer to no condition."""

MONITORS = ("#111111", "#56B4E9", "#009E73", "#CC79A7")
"""The monitors, in the order in which the user named them."""

TRAINING = "#999999"
"""The training loss."""


def colour_of(condition: Condition, own: Sequence[Detector] = ()) -> str:
    """Colour of a decision's mark.

    Args:
        condition: that it answers.
        own: the detectors that the user added to the built-in ones, from the settings of the run.
    """
    detectors = (*default_detectors(), *own)
    return next((detector.color for detector in detectors if detector.condition is condition), OTHER)
