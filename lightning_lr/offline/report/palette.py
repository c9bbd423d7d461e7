"""One colour a condition, in every picture; Okabe and Ito's, which colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_lr.engine.vocabulary import Condition

CONDITIONS: Mapping[Condition, str] = {
    Condition.PLATEAU: "#0072B2",
    Condition.CONVERGED: "#0072B2",
    Condition.OVERFITTING: "#E69F00",
    Condition.DIVERGENCE: "#D55E00",
    Condition.NON_FINITE: "#D55E00",
    Condition.OSCILLATION: "#CC79A7",
    Condition.LOSS_SPIKE: "#CC79A7",
    Condition.INCOHERENCE: "#CC79A7",
    Condition.SLOW_PROGRESS: "#009E73",
    Condition.IMPROVING: "#009E73",
}
OTHER = "#666666"
"""Colour of a recipe's marks, which answer to no condition."""

MONITORS = ("#111111", "#56B4E9", "#009E73", "#CC79A7")
"""The monitors, in the order in which the user named them."""

TRAINING = "#999999"
"""The training loss."""


def colour_of(condition: Condition) -> str:
    """Colour of a decision's mark."""
    return CONDITIONS.get(condition, OTHER)
