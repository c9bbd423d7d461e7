"""Colours of the curves; Okabe and Ito's, which colour-blind readers can tell apart. A mark has its detector's."""

from __future__ import annotations

MONITORS = ("#111111", "#56B4E9", "#009E73", "#CC79A7")
"""The monitors, in the order in which the user named them."""

TRAINING = "#999999"
"""The training loss."""
