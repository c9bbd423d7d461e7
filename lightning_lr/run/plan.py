"""Whether a run explores at its start and is annealed at its end: what the user said, and what this Trainer allows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_lr.engine.lr_search.plan import plan_exploration
from lightning_lr.errors import UnsupportedError
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.readings.reduction_format import pack_budget, unpack_budget
from lightning_lr.run.trainer.early_stopping import stops_early
from lightning_lr.run.trainer.strategies import against_restoring
from lightning_lr.run.trainer.time_budget import FIRST
from lightning_lr.run.trainer.trainer_adapter import budget_of, steps_between_validations, steps_taken, timers_of

if TYPE_CHECKING:
    from lightning_lr.callbacks.controller import LearningRateController


@dataclass(frozen=True)
class RunPlan:
    """What was decided for this run, and the sentences for its set-up card.

    Attributes:
        budget: optimizer steps of the whole run; ``None`` where that is unknown, or not known yet.
        exploration: how the first learning rate is found.
        curve: how the learning rate runs over the budget.
        searches: whether a sweep comes first.
        anneals: whether the rate falls to zero at the end.
        ends_early: whether it does so where EarlyStopping ends the run, which needs no known budget.
        open_ended: whether it does so at a plateau, as nothing else ends the run.
        validation: optimizer steps from one validation to the next; infinite where that is unknown.
        timed: whether a time limits the run: how many steps that is must be measured first.
    """

    budget: int | None
    exploration: str
    curve: str
    searches: bool = False
    anneals: bool = False
    ends_early: bool = False
    open_ended: bool = False
    validation: float = math.inf
    timed: bool = False


def plan_run(
    callback: LearningRateController, trainer: Any, ranks: Ranks, state: Mapping[str, Any] | None = None
) -> RunPlan:
    """What the arguments ask for, or what is best where they leave it open.

    Args:
        callback: whose arguments.
        trainer: with its optimizers set up.
        ranks: the processes that train together.
        state: of the session that is resumed, which may be in the middle of its exploration.

    Raises:
        UnsupportedError: where ``find_lr=True`` or ``anneal=True`` is asked of a Trainer that cannot.
    """
    timed = bool(timers_of(trainer))
    # Rank 0's: where the ranks' data differ in length, each would lay its own curve.
    own = [pack_budget(budget_of(trainer, steps_taken(trainer))), steps_between_validations(trainer)]
    agreed, validation = ranks.from_rank_zero(own)
    budget = unpack_budget(agreed)
    plan = plan_exploration(None if timed else budget)
    against_finding = _against_finding(callback, trainer)
    if plan is not None and not against_finding and _begun(trainer, state or {}):
        against_finding = "the run has begun before"  # comes last: resumed before its first check, a run says the same
    against_annealing = _against_annealing(callback, trainer, timed or budget is not None)
    searches = not against_finding if callback.find_lr == "auto" else bool(callback.find_lr)
    anneals = not against_annealing if callback.anneal == "auto" else bool(callback.anneal)
    if callback.find_lr is True and _one_optimizer_missing(trainer):
        raise UnsupportedError(
            f"Expected one optimizer for `find_lr=True` but got {len(trainer.optimizers)}. Leave it out."
        )
    not_restored = against_restoring(trainer.strategy, trainer.optimizers)
    if callback.find_lr is True and not_restored:
        raise UnsupportedError(
            f"Expected weights that can be put back for `find_lr=True` but got {not_restored}. Leave it out, and "
            "find the rate beforehand."
        )
    if callback.anneal is True and budget is None and not timed:
        raise UnsupportedError(
            "Expected a known budget for `anneal=True`: give the Trainer max_epochs, max_steps or max_time."
        )
    found = (
        f"at most {plan.most} steps at rates of their own, then the start is restored"
        if plan
        else "none: too few steps"
    )
    curved = "hold, then linear to zero over the last half of what is left"
    if timed:
        found += f"; the first {FIRST} steps tell how many the time allows"
        curved += ", by an estimate that each check renews"
    without = f"none: {against_annealing or 'anneal=False'}"
    ends_early = anneals or (callback.anneal == "auto" and not _against_annealing(callback, trainer, known=True))
    open_ended = False
    if ends_early and any(map(stops_early, trainer.callbacks)):
        curved += "; or from where EarlyStopping has run out of patience"
        without = "hold, then linear to zero once EarlyStopping has run out of patience"
    elif ends_early and not anneals:
        open_ended = True
        without = "hold until a plateau, then linear to zero over as many steps again; there the run ends"
    return RunPlan(
        budget=None if timed else budget,
        exploration=found if searches else f"none: {against_finding}",
        curve=curved if anneals else without,
        searches=searches and plan is not None,
        anneals=anneals,
        ends_early=ends_early,
        open_ended=open_ended,
        validation=validation,
        timed=timed,
    )


def _begun(trainer: Any, state: Mapping[str, Any]) -> bool:
    """Whether steps were taken already, and not in an exploration that goes on."""
    return bool(steps_taken(trainer)) and not (state.get("searching") or state.get("waiting_for_budget"))


def _against_finding(callback: LearningRateController, trainer: Any) -> str:
    """Why a run does not explore, whose user did not ask for it; empty where nothing speaks against it."""
    if callback.find_lr is False:
        return "find_lr=False"
    if not callback.settings.policy.searches:
        return f"policy {callback.settings.policy.name!r} does not explore"
    if trainer.lr_scheduler_configs:
        return "the schedule is the user's own"
    if _one_optimizer_missing(trainer):
        return "it takes one optimizer"
    if any(type(callback).__name__ == "LearningRateFinder" for callback in trainer.callbacks):
        return "LearningRateFinder has found a rate already"
    return against_restoring(trainer.strategy, trainer.optimizers)


def _against_annealing(callback: LearningRateController, trainer: Any, known: bool) -> str:
    if not callback.settings.policy.anneals:
        return f"policy {callback.settings.policy.name!r} does not anneal"
    if trainer.lr_scheduler_configs:
        return "the schedule is the user's own"
    return "" if known else "the budget is unknown"


def _one_optimizer_missing(trainer: Any) -> bool:
    return len([optimizer for optimizer in trainer.optimizers if optimizer.param_groups]) != 1
