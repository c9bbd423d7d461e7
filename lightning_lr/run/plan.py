"""Whether a run explores at its start and is annealed at its end: decided by options and Trainer, then begun."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning_lr.engine.lr_search.plan import Exploration, plan_exploration
from lightning_lr.engine.lr_search.range_test import LOWEST
from lightning_lr.errors import UnsupportedError
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.fit_run import FitRun
from lightning_lr.run.options import ControllerOptions
from lightning_lr.run.readings.reduction_format import pack_budget, unpack_budget
from lightning_lr.run.search_run import PART, LRSearch, saved_plan
from lightning_lr.run.trainer.batch_cache import BatchCache
from lightning_lr.run.trainer.callback_kinds import is_a, stops_early
from lightning_lr.run.trainer.other_callbacks import pause_judging
from lightning_lr.run.trainer.schedulers import schedulers_of
from lightning_lr.run.trainer.step_budget import StepBudget
from lightning_lr.run.trainer.strategies import against_restoring
from lightning_lr.run.trainer.time_budget import FIRST
from lightning_lr.run.trainer.trainer_adapter import (
    batches_that_stepped,
    limited_by_epochs,
    steps_between_validations,
    timers_of,
)


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
        notes: what the user should know of the schedulers.
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
    notes: tuple[str, ...] = ()


# --- decided ----------------------------------------------------------------------------------------------------------


def plan_run(options: ControllerOptions, trainer: Any, ranks: Ranks, state: Mapping[str, Any] | None = None) -> RunPlan:
    """What the arguments ask for, or what is best where they leave it open.

    Args:
        options: of the callback.
        trainer: with its optimizers set up.
        ranks: the processes that train together.
        state: of the run that is resumed, which may be in the middle of its exploration.

    Raises:
        UnsupportedError: where ``find_lr=True`` or ``anneal=True`` is asked of a Trainer that cannot.
    """
    timed = bool(timers_of(trainer))
    # Rank 0's: where the ranks' data differ in length, each would lay its own curve.
    own = StepBudget(trainer)
    agreed, validation = ranks.from_rank_zero(
        [pack_budget(own.budget(batches_that_stepped(trainer))), steps_between_validations(trainer)]
    )
    budget = unpack_budget(agreed)
    learned = budget is None and not timed and own.may_be_learned
    plan = plan_exploration(None if timed else budget)
    moving, dormant = schedulers_of(trainer, None if timed else budget)
    against_finding = _against_finding(options, trainer, moving)
    if plan is not None and not against_finding and _begun(trainer, state or {}):
        against_finding = "the run has begun before"  # comes last: resumed before its first check, a run says the same
    against_annealing = _against_annealing(options, moving, timed or learned or budget is not None)
    searches = not against_finding if options.find_lr == "auto" else bool(options.find_lr)
    anneals = not against_annealing if options.anneal == "auto" else bool(options.anneal)
    if options.find_lr is True and _one_optimizer_missing(trainer):
        raise UnsupportedError(
            f"Expected one optimizer for `find_lr=True` but got {len(trainer.optimizers)}. Leave it out."
        )
    not_restored = against_restoring(trainer.strategy, trainer.optimizers)
    if options.find_lr is True and not_restored:
        raise UnsupportedError(
            f"Expected weights that can be put back for `find_lr=True` but got {not_restored}. Leave it out, and "
            "find the rate beforehand."
        )
    if options.anneal is True and budget is None and not timed and not learned:
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
    elif learned:
        curved += ", once the first epoch has shown how many steps an epoch has"
    without = f"none: {against_annealing or 'anneal=False'}"
    ends_early = anneals or (options.anneal == "auto" and not _against_annealing(options, moving, known=True))
    open_ended = False
    if ends_early and any(map(stops_early, trainer.callbacks)):
        curved += "; or from where EarlyStopping has run out of patience"
        without = "hold, then linear to zero once EarlyStopping has run out of patience"
    elif ends_early and not anneals and not limited_by_epochs(trainer):
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
        notes=() if state else _notes(options, moving, dormant),
    )


def _notes(options: ControllerOptions, moving: Sequence[str], dormant: Sequence[str]) -> tuple[str, ...]:
    policy = options.settings.policy
    asked = [name for name in ("find_lr", "anneal") if getattr(options, name) == "auto"]
    if options.dry_run or not asked or not (policy.searches or policy.anneals):
        return ()
    if moving:
        wanted = " and ".join(f"{name}=True" for name in asked)
        return (
            f"{', '.join(moving)} sets the schedule: the learning rate is neither searched nor annealed. To have that "
            f"done, pass {wanted}, or remove the scheduler.",
        )
    return tuple(f"{name} cannot change a learning rate in this run: it counts as no scheduler." for name in dormant)


def _begun(trainer: Any, state: Mapping[str, Any]) -> bool:
    """Whether steps were taken already, and not in an exploration that goes on."""
    return bool(batches_that_stepped(trainer)) and not (state.get("searching") or state.get("waiting_for_budget"))


def _against_finding(options: ControllerOptions, trainer: Any, moving: Sequence[str]) -> str:
    """Why a run does not explore, whose user did not ask for it; empty where nothing speaks against it."""
    if options.find_lr is False:
        return "find_lr=False"
    if options.snapshots is None:
        return "snapshots=False"
    if not options.settings.policy.searches:
        return f"policy {options.settings.policy.name!r} does not explore"
    if moving:
        return "the schedule is the user's own"
    if _one_optimizer_missing(trainer):
        return "it takes one optimizer"
    if any(is_a(callback, "LearningRateFinder") for callback in trainer.callbacks):
        return "LearningRateFinder has found a rate already"
    return against_restoring(trainer.strategy, trainer.optimizers)


def _against_annealing(options: ControllerOptions, moving: Sequence[str], known: bool) -> str:
    if not options.settings.policy.anneals:
        return f"policy {options.settings.policy.name!r} does not anneal"
    if moving:
        return "the schedule is the user's own"
    return "" if known else "the budget is unknown"


def _one_optimizer_missing(trainer: Any) -> bool:
    return len([optimizer for optimizer in trainer.optimizers if optimizer.param_groups]) != 1


# --- begun ------------------------------------------------------------------------------------------------------------


def begin_plan(
    fit_run: FitRun,
    run_plan: RunPlan,
    trainer: Any,
    module: Any,
    state: Mapping[str, Any],
    checkpointed: Mapping[str, Any],
) -> None:
    """Begin to explore, and lay the curve over the budget, where this run does so; a resumed run goes on."""
    for note in run_plan.notes:
        fit_run.say(note)
    lr_schedule, exploring = fit_run.lr_schedule, state.get("searching")
    if state:
        _resume_budget(fit_run, state)
    if run_plan.timed and (not state or state.get("waiting_for_budget")):
        lr_schedule.on_budget_known = partial(_begin, fit_run, run_plan, trainer, module)
        lr_schedule.budget_known_at = lr_schedule.steps + FIRST
        if run_plan.searches and not fit_run.options.dry_run and fit_run.groups.rates():
            # The very start is restored after the sweep: until then each step is as small as the sweep's first.
            lr_schedule.resume_callbacks = pause_judging(trainer.callbacks, fit_run.undo)
            fit_run.groups.set_part(PART, 1.0)
            fit_run.groups.set_part(PART, LOWEST / next(iter(fit_run.groups.rates().values())).applied)
    elif not state:
        _begin(fit_run, run_plan, trainer, module, run_plan.budget)
    elif exploring and not fit_run.options.dry_run:
        lr_search = _explore(fit_run, saved_plan(exploring), trainer, module)
        lr_search.load_state_dict(exploring)
        lr_search.load_batches(_of_rank(checkpointed.get("batches"), ranks=fit_run.ranks))


def _begin(fit_run: FitRun, run_plan: RunPlan, trainer: Any, module: Any, budget: int | None) -> None:
    """Begin to explore, and lay the curve over the budget, where this run does so."""
    if fit_run.options.dry_run:
        return
    lr_schedule = fit_run.lr_schedule
    if lr_schedule.resume_callbacks is not None:
        lr_schedule.resume()
        fit_run.groups.set_part(PART, 1.0)
    if run_plan.anneals and budget is not None:
        lr_schedule.lay_curve(budget)
    plan = plan_exploration(budget) if run_plan.searches else None
    if plan is not None and fit_run.groups.rates():
        _explore(fit_run, plan, trainer, module)


def _explore(fit_run: FitRun, plan: Exploration, trainer: Any, module: Any) -> LRSearch:
    """Begin to explore; callbacks that judge wait for its end."""
    lr_schedule, batches = fit_run.lr_schedule, partial(BatchCache, module, fit_run.undo)
    lr_schedule.lr_search = LRSearch(plan, fit_run.groups, fit_run.ranks, fit_run.restore_start, batches)
    lr_schedule.resume_callbacks = pause_judging(trainer.callbacks, fit_run.undo)
    return lr_schedule.lr_search


def _resume_budget(fit_run: FitRun, state: Mapping[str, Any]) -> None:
    """A resumed run may have another end: with more epochs, other batches, more time. Its first batch tells."""
    lr_schedule = fit_run.lr_schedule
    assert lr_schedule.step_budget is not None
    other_batches = lr_schedule.step_budget.load_state_dict(state["step_budget"])
    if lr_schedule.time_budget is not None and state["time_budget"] and not other_batches:
        lr_schedule.time_budget.load_state_dict(state["time_budget"])
    lr_schedule.asks_again = True
    lr_schedule.budget_changed()


def _of_rank(batches: list[Any] | None, ranks: Ranks) -> Any:
    """This rank's own batches; where a checkpoint has not those of all ranks, each goes on with fresh ones."""
    return batches[ranks.rank] if batches is not None and len(batches) == ranks.world_size else None
