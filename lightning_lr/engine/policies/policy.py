"""Diagnosis → what to do about it: a small table, and the presets.

A policy is data: for each condition the action, the factor, and how many checks in a row it takes. Anything that is
not in the table is recorded and left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lightning_lr.engine.vocabulary import Action, Condition

ESCALATIONS = 4
"""Restores in a row without a new best after which training is stopped. The cuts multiply: 0.3⁴ is below a hundredth
of the rate, and a run that cannot better its best state at a hundredth of the rate has nothing left to gain."""


FURTHEST = 4.0
"""Room beyond which a raise grows no further: × 8 at once. A rate a hundred times too low is then right after three
raises, and one that was misjudged costs a few checks, as it is undone."""


RIPE = 0.05
"""Part of a known budget that a plateau must have lasted. Three checks are a tenth of thirty epochs, but nothing of a
run that checks after each of its 200 steps: there a cut at the first calm stretch cost 3 % (decision 12)."""


RESTORED = (Condition.OVERFITTING, Condition.DIVERGENCE, Condition.NON_FINITE)
"""On these ``restore_best=True`` restores: ground was lost."""


@dataclass(frozen=True)
class Response:
    """What a policy does about one condition.

    Attributes:
        action: ``"reduce"``, ``"restore"`` (the state of the best check comes back, then the rate is cut), or
            ``"raise"`` (on probation: undone unless the run then improves faster).
        factor: multiplier of the learning rate, above 0; below 1 for a cut, above 1 for a raise.
        patience: checks in a row; acts on the last of them.
        defer_to_scheduler: whether it waits while the user's own schedule moves the rate.
        min_plateau_fraction: share of a known budget since the best check from which on it is given; 0 for at once.
    """

    action: Action
    factor: float
    patience: int = 1
    defer_to_scheduler: bool = False
    min_plateau_fraction: float = 0.0

    def __post_init__(self) -> None:
        # Files and users write plain strings; everything here compares with the word itself.
        object.__setattr__(self, "action", Action(self.action))

    def further(self, room: float) -> Response:
        """A raise by more octaves at once where there is room for them, three at the most.

        Args:
            room: how far the rate is beyond the threshold of being too low; an octave more for each doubling.

        >>> [Response(Action.RAISE, 2.0).further(room).factor for room in (1.0, 2.5, 4.0, 1000.0)]
        [2.0, 4.0, 8.0, 8.0]
        """
        octaves = 1 + math.floor(math.log2(min(max(room, 1.0), FURTHEST)))
        return replace(self, factor=self.factor**octaves)

    def escalated(self, failed_adjustments: int) -> Response:
        """The response after so many restores that brought no new best: the same again, then the end.

        >>> [f"{r.action} {r.factor:.2g}" for r in map(Response(Action.RESTORE, 0.3).escalated, (0, 1, 4))]
        ['restore 0.3', 'restore 0.3', 'stop 1']
        """
        if self.action is Action.RESTORE and failed_adjustments >= ESCALATIONS:
            return replace(self, action=Action.STOP, factor=1.0)
        return self


@dataclass(frozen=True)
class Policy:
    """A named table of responses, or a recipe.

    Attributes:
        name: shown in every report; decides nothing.
        responses: condition → response.
        recipe: ``"halving"`` or ``"exponential"``: a plain recipe takes the place of the table.
        epochs: epochs between two moves of the recipe.
        ratio: the fixed ratio of the exponential recipe, above 0 and below 1.
        restore_best_at_end: whether the last check of a known budget restores the best state if the run ended worse.
        anneal_on_plateau: whether a plateau begins the end of a run whose budget is unknown.
        searches: whether a run without a scheduler finds its first rate by itself, where the user leaves that open.
        anneals: whether its rate falls to zero at the end, likewise.

    >>> cautious = Policy("mine", {Condition.PLATEAU: Response(Action.REDUCE, 0.5, patience=5)})
    >>> cautious.restores
    False
    """

    name: str
    responses: Mapping[Condition, Response] = field(default_factory=dict)
    recipe: str | None = None
    epochs: int = 10
    ratio: float = 0.5
    restore_best_at_end: bool = False
    anneal_on_plateau: bool = False
    searches: bool = False
    anneals: bool = False

    def __post_init__(self) -> None:
        named = {Condition(condition): response for condition, response in self.responses.items()}
        object.__setattr__(self, "responses", named)

    @property
    def restores(self) -> bool:
        """Whether any response needs a snapshot."""
        return any(response.action is Action.RESTORE for response in self.responses.values())

    def tuned(self, patience: int | None = None, factor: float | None = None, restores: bool | None = None) -> Policy:
        """The same policy with the user's own numbers where given.

        Args:
            patience: for every condition that waits at all (those that act on the first check stay so).
            factor: for every cut.
            restores: ``False`` turns each restore into a plain reduction; ``True`` restores on overfitting and on
                divergence.
        """
        tuned = {c: _tuned(c, r, patience, factor, restores) for c, r in self.responses.items()}
        return replace(self, responses=tuned, restore_best_at_end=self.restore_best_at_end and restores is not False)


def _tuned(
    condition: Condition, response: Response, patience: int | None, factor: float | None, restores: bool | None
) -> Response:
    if patience is not None and response.patience > 1:
        response = replace(
            response, patience=patience, min_plateau_fraction=0.0
        )  # who counts the checks means just these
    if factor is not None and response.action is not Action.RAISE:
        response = replace(response, factor=factor)
    if restores is False and response.action is Action.RESTORE:
        response = replace(response, action=Action.REDUCE)
    if restores and condition in RESTORED:
        response = replace(response, action=Action.RESTORE)
    return response


PRESETS: Mapping[str, Policy] = {
    # Cuts and restores as the prototype's figures chose them: see docs/decisions/0003-first-auto-policy.md.
    "auto": Policy(
        "auto",
        {
            Condition.NON_FINITE: Response(Action.RESTORE, 0.3),
            Condition.DIVERGENCE: Response(Action.RESTORE, 0.3),
            Condition.OVERFITTING: Response(Action.RESTORE, 0.1, patience=2),
            Condition.PLATEAU: Response(
                Action.RESTORE, 0.3, patience=3, defer_to_scheduler=True, min_plateau_fraction=RIPE
            ),
            # Noise of the neurons falls about in proportion to the rate: a half is seen in the next flips.
            Condition.INCOHERENCE: Response(Action.REDUCE, 0.5, patience=3),
            # An octave, as people try by hand; at once, since the detector itself looks at several checks.
            Condition.SLOW_PROGRESS: Response(Action.RAISE, 2.0),
            Condition.IMPROVING: Response(Action.RAISE, 2.0, patience=3),
            Condition.OSCILLATION: Response(Action.REDUCE, 0.5, patience=3),
        },
        restore_best_at_end=True,
        anneal_on_plateau=True,
        searches=True,
        anneals=True,
    ),
    # Only ever lowers; 0.5 loses at most one octave to a false alarm.
    "conservative": Policy(
        "conservative",
        {
            Condition.NON_FINITE: Response(Action.REDUCE, 0.5),
            Condition.DIVERGENCE: Response(Action.REDUCE, 0.5),
            Condition.OVERFITTING: Response(Action.REDUCE, 0.5, patience=3),
            Condition.PLATEAU: Response(
                Action.REDUCE, 0.5, patience=5, defer_to_scheduler=True, min_plateau_fraction=RIPE
            ),
            Condition.INCOHERENCE: Response(Action.REDUCE, 0.5, patience=5),
            Condition.OSCILLATION: Response(Action.REDUCE, 0.5, patience=5),
        },
    ),
    # "every 10 to 15 epochs", as the recipe is usually told.
    "halving": Policy("halving", recipe="halving", epochs=10, ratio=0.5),
    # 0.95 an epoch: a tenth after 45 epochs, the usual setting of ExponentialLR in tutorials.
    "exponential": Policy("exponential", recipe="exponential", epochs=1, ratio=0.95),
}
"""The policies that go by a name."""
