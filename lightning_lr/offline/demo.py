"""The engine's decisions on curves with a known end, and how soon they came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from lightning_lr.engine.journal import JournalLine
from lightning_lr.engine.records import Adjustment, Rate
from lightning_lr.engine.settings import Settings
from lightning_lr.engine.vocabulary import Action
from lightning_lr.offline import curves
from lightning_lr.offline.curves import Curve
from lightning_lr.offline.replay.replay import Replayer

RATE = 0.1
"""The learning rate that the curves start with, so that a decision has something to change."""

CURVES: Mapping[str, Callable[[int], Curve]] = {
    "healthy": curves.healthy,
    "plateau": curves.plateau,
    "overfitting": curves.overfitting,
    "divergence": curves.divergence,
    "loss_spike": curves.loss_spike,
    "non_finite": curves.non_finite,
}
"""One curve for each condition that a curve can show."""


def decided(curve: Curve, settings: Settings) -> list[JournalLine]:
    """The journal that the curve would have given; its readings do not react to the decisions.

    >>> lines = decided(curves.plateau(seed=0), Settings())
    >>> next(str(line.decision.condition) for line in lines if line.decision.action != "hold")
    'plateau'
    """
    replayer, lines, scale = Replayer(settings, as_recorded=False), [], 1.0
    for reading in curve.readings:
        reading = replace(reading, rates={"lr-SGD": Rate(RATE, scale, RATE * scale)})
        decision = replayer.step(reading)
        scale *= decision.factor
        lines.append(JournalLine(reading, decision, Adjustment({"lr-SGD": Rate(RATE, scale, RATE * scale)})))
    return lines


def first_answer(lines: list[JournalLine], curve: Curve) -> str:
    """How soon the engine answered, in words."""
    acted = [line.decision for line in lines if line.decision.action is not Action.HOLD]
    if curve.onset is None:
        return "nothing was decided, as it should be" if not acted else f"{len(acted)} decisions that it did not need"
    answer = next((d for d in acted if d.check >= curve.onset and d.condition is curve.condition), None)
    if answer is None:
        return "recorded, not acted on"
    return f"answered {answer.check - curve.onset} checks after its onset"
