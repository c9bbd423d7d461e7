"""The default: searches, restores, reduces, raises and anneals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lightning_lr.engine.policies.policy import MIN_PLATEAU_FRACTION, Policy, Response
from lightning_lr.engine.vocabulary import Action, Condition

RESPONSES: Mapping[Condition, Response] = {
    # Reductions and restores as the prototype's figures chose them: see docs/decisions/0003-first-auto-policy.md.
    Condition.NON_FINITE: Response(Action.RESTORE, 0.3),
    Condition.DIVERGENCE: Response(Action.RESTORE, 0.3),
    # No patience beyond the probability, which rests on several checks.
    Condition.OVERFITTING: Response(Action.RESTORE, 0.1),
    Condition.PLATEAU: Response(
        Action.RESTORE, 0.3, defer_to_scheduler=True, min_plateau_fraction=MIN_PLATEAU_FRACTION
    ),
    # Noise of the neurons falls about in proportion to the rate: a half is seen in the next flips.
    Condition.INCOHERENCE: Response(Action.REDUCE, 0.5, patience=3),
    # An octave, as people try by hand; at once, since the detector itself looks at several checks.
    Condition.SLOW_PROGRESS: Response(Action.RAISE, 2.0),
    Condition.IMPROVING: Response(Action.RAISE, 2.0, patience=3),
    Condition.OSCILLATION: Response(Action.REDUCE, 0.5, patience=3),
}


@dataclass(frozen=True)
class AutoPolicy(Policy):
    """Finds the first rate, restores the best state if ground is lost, reduces, raises, and anneals at the end.

    Arguments and attributes are those of :class:`~lightning_lr.engine.policies.policy.Policy`, with other defaults.

    >>> AutoPolicy(patience=5).responses[Condition.PLATEAU].patience
    5
    """

    name: str = "auto"
    responses: Mapping[Condition, Response] = field(default_factory=lambda: RESPONSES)
    searches: bool = True
    anneals: bool = True
    restore_best_at_end: bool = True
    anneal_on_plateau: bool = True
