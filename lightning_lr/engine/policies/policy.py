"""Diagnosis → what to do about it: a table of responses, with the numbers and flags that go with it.

A policy is data: for each condition the action, the factor, and how many checks in a row it takes. A condition that is
not in the table is recorded, and nothing is done about it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, replace
from typing import Any

from lightning_lr.engine.records import MIN_PROBABILITY
from lightning_lr.engine.vocabulary import Action, Condition
from lightning_lr.errors import ArgumentError, check_integer, check_number

MOST_OCTAVES = 3
"""A raise is at most × 8 at once. A rate a hundred times too low is then right after three raises, and one that was
misjudged costs a few checks, as it is undone."""

MIN_PLATEAU_FRACTION = 0.05
"""Part of a known budget that a plateau must have lasted. Three checks are a tenth of thirty epochs, but nothing of a
run that checks after each of its 200 steps: there a cut at the first calm stretch cost 3 % (decision 12)."""


STALLED = (Condition.PLATEAU, Condition.OVERFITTING)
"""What ``patience`` applies to, even if a response requires one check alone: these may wait."""

RESTORED = (Condition.OVERFITTING, Condition.DIVERGENCE, Condition.NON_FINITE)
"""On these ``restore_best=True`` restores: ground was lost."""


@dataclass(frozen=True)
class Response:
    """What a policy does about one condition.

    Attributes:
        action: ``"reduce"``, ``"restore"`` (the state of the best check is restored, then the rate is reduced), or
            ``"raise"`` (reviewed after three checks, and undone unless the run then improves faster).
        factor: multiplier of the learning rate, above 0; below 1 for a reduction, above 1 for a raise.
        patience: checks in a row; acts on the last of them.
        defer_to_scheduler: whether it waits while the user's own schedule changes the rate.
        min_plateau_fraction: minimum time since the best check, as a fraction of a known budget; 0 for none.

    Raises:
        ArgumentError: if a number cannot work.
    """

    action: Action
    factor: float
    patience: int = 1
    defer_to_scheduler: bool = False
    min_plateau_fraction: float = 0.0

    def __post_init__(self) -> None:
        # Files and users write plain strings; everything here compares with the word itself.
        object.__setattr__(self, "action", Action(self.action))
        check_number("factor", self.factor, above=0.0)
        check_integer("patience", self.patience, 1)
        check_number("min_plateau_fraction", self.min_plateau_fraction)

    def raised_further(self, margin: float) -> Response:
        """A raise by more factors of two at once if there is a margin for them, three at the most.

        Args:
            margin: how far the rate is beyond the threshold of being too low; a factor of two more for each doubling.

        >>> [Response(Action.RAISE, 2.0).raised_further(margin).factor for margin in (1.0, 2.5, 4.0, 1000.0)]
        [2.0, 4.0, 8.0, 8.0]
        """
        octaves = 1 + math.floor(math.log2(min(max(margin, 1.0), 2.0 ** (MOST_OCTAVES - 1))))
        return replace(self, factor=self.factor**octaves)


def _waits(condition: Condition, response: Response) -> bool:
    return response.patience > 1 or condition in STALLED


@dataclass(frozen=True)
class Policy:
    """A named table of responses, with its numbers and flags.

    Attributes:
        name: shown in every report; decides nothing.
        responses: condition → response.
        searches: whether a run without a scheduler searches its first rate, if the user leaves that open.
        anneals: whether its rate falls to zero at the end, likewise.
        restore_best_at_end: whether the last check of a known budget restores the best state if the run ended worse.
        anneal_on_plateau: whether a plateau begins the end of a run whose budget is unknown.
        max_failed_restores: restores in a row without a new best after which a plateau or overfitting is no longer
            answered. The reductions multiply: 0.3⁴ is below a hundredth of the rate, and a run that cannot better its
            best state at a hundredth of the rate has nothing left to gain.
        stops: whether training is stopped then, at its best state, although its budget has not ended. A run whose
            budget is unknown is stopped anyway.
        rel_delta: least change of a monitor relative to |best| that counts as improvement, ≥ 0. 0: a loss has no
            natural zero, so what is not rounding counts.
        warmup_checks: checks at the start of a run without a change, ≥ 0; divergence and NaN are acted on at once.
        min_probability: from which on plateau, overfitting and divergence are named and answered, 0.5 to 1.
        factor_above_start: multiplier of the learning rate instead of ``factor``, if that is larger, at a divergence
            whose loss lies above the one before training. 0.05: a rate that loses all is not twice too high.

    Args:
        patience: checks in a row, for plateau and overfitting and for every response that waits at all (those at once
            stay so); the plateau then waits for just these, however small a part of the budget they are.
        factor: multiplier of every reduction.
        restore_best: ``False`` turns each restore into a plain reduction; ``True`` restores on overfitting and on
            divergence.
        min_plateau_fraction: of every response that has one.

    Raises:
        ArgumentError: if a number cannot work.

    >>> cautious = Policy("mine", {Condition.PLATEAU: Response(Action.REDUCE, 0.5, patience=5)}, patience=3)
    >>> cautious.restores, cautious.responses[Condition.PLATEAU].patience
    (False, 3)
    """

    name: str
    responses: Mapping[Condition, Response] = field(default_factory=dict)
    searches: bool = False
    anneals: bool = False
    restore_best_at_end: bool = False
    anneal_on_plateau: bool = False
    max_failed_restores: int = 4
    stops: bool = False
    rel_delta: float = 0.0
    warmup_checks: int = 0
    min_probability: float = MIN_PROBABILITY
    factor_above_start: float = 0.05
    patience: InitVar[int | None] = None
    factor: InitVar[float | None] = None
    restore_best: InitVar[bool | None] = None
    min_plateau_fraction: InitVar[float | None] = None

    def __post_init__(
        self,
        patience: int | None,
        factor: float | None,
        restore_best: bool | None,
        min_plateau_fraction: float | None,
    ) -> None:
        check_integer("max_failed_restores", self.max_failed_restores, 1)
        check_number("rel_delta", self.rel_delta)
        check_integer("warmup_checks", self.warmup_checks, 0)
        check_number("min_probability", self.min_probability, above=0.5, below=1.0)
        check_number("factor_above_start", self.factor_above_start, above=0.0)
        responses = {Condition(condition): response for condition, response in self.responses.items()}
        for condition, response in responses.items():
            changes: dict[str, object] = {}
            if patience is not None and _waits(condition, response):
                changes |= {"patience": patience, "min_plateau_fraction": 0.0}
            if min_plateau_fraction is not None and response.min_plateau_fraction:
                changes["min_plateau_fraction"] = min_plateau_fraction
            if factor is not None and response.action is not Action.RAISE:
                changes["factor"] = check_number("factor", factor, above=0.0, below=1.0)
            if restore_best is False and response.action is Action.RESTORE:
                changes["action"] = Action.REDUCE
            if restore_best and condition in RESTORED:
                changes["action"] = Action.RESTORE
            if changes:
                responses[condition] = replace(response, **changes)  # type: ignore[arg-type]
        self._refuse_unused(
            patience=None if any(_waits(c, r) for c, r in responses.items()) else patience,
            factor=None if any(r.action is not Action.RAISE for r in self.responses.values()) else factor,
            restore_best=None if any(c in RESTORED for c in responses) else restore_best or None,
        )
        object.__setattr__(self, "responses", responses)
        object.__setattr__(self, "restore_best_at_end", self.restore_best_at_end and restore_best is not False)

    def _refuse_unused(self, **unused: Any) -> None:
        for name, value in unused.items():
            if value is not None:
                raise ArgumentError(
                    f"Expected no `{name}` with policy {self.name!r} but got {value!r}. None of its responses takes "
                    "it: leave it out, or give the policy a response that does."
                )

    @property
    def restores(self) -> bool:
        """Whether any response needs a snapshot."""
        return any(response.action is Action.RESTORE for response in self.responses.values())

    def tuned(self, patience: int | None = None, factor: float | None = None, restores: bool | None = None) -> Policy:
        """The same policy with the user's own numbers, where given: see ``Args`` of :class:`Policy`."""
        return replace(self, patience=patience, factor=factor, restore_best=restores)
