"""What a detector is: a question about the signals of one check, answered with a score and a sentence.

Detectors hold settings, never memory: what they need of the past is in the signals. That makes each decision
recomputable from what was recorded, and leaves nothing of theirs to save.
"""

from __future__ import annotations

from typing import Protocol

from lightning_lr.core.records import Finding, Signals
from lightning_lr.core.vocabulary import Condition


class Detector(Protocol):
    """Anything with a condition and an ``examine`` is a detector; see docs/how-to-add-a-detector.md."""

    @property
    def condition(self) -> Condition:
        """The one condition that this detector looks for."""
        ...

    def examine(self, signals: Signals) -> tuple[Finding, ...]:
        """Answer for each series that the question applies to; empty where it cannot be asked at this check."""
        ...
