"""Reduces only: no search, no restore, no raise, no annealing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lightning_lr.engine.policies.policy import MIN_PLATEAU_FRACTION, Policy, Response
from lightning_lr.engine.vocabulary import Action, Condition

RESPONSES: Mapping[Condition, Response] = {
    # 0.5 loses at most one octave to a false alarm. Overfitting goes on at half the rate, for as many checks as the
    # next cut has to wait: benchmarks/reactive.
    Condition.NON_FINITE: Response(Action.REDUCE, 0.5),
    Condition.DIVERGENCE: Response(Action.REDUCE, 0.5),
    Condition.OVERFITTING: Response(Action.REDUCE, 0.1),
    Condition.PLATEAU: Response(Action.REDUCE, 0.5, defer_to_scheduler=True, min_plateau_fraction=MIN_PLATEAU_FRACTION),
    Condition.INCOHERENCE: Response(Action.REDUCE, 0.5, patience=5),
    Condition.OSCILLATION: Response(Action.REDUCE, 0.5, patience=5),
}


@dataclass(frozen=True)
class ConservativePolicy(Policy):
    """Only ever reduces the rate, by half (on overfitting to a tenth), at a higher probability than ``auto`` requires.

    Arguments and attributes are those of :class:`~lightning_lr.engine.policies.policy.Policy`, with other defaults.

    >>> ConservativePolicy().restores
    False
    """

    name: str = "conservative"
    min_probability: float = 0.9
    responses: Mapping[Condition, Response] = field(default_factory=lambda: RESPONSES)
