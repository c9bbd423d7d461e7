"""Whether a run searches its first rate and is annealed at its end: decided by options and Trainer, then begun."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lightning_lr.engine.lr_search.finder import DECADES, Finder
from lightning_lr.engine.lr_search.plan import FEWEST_STEPS, UNKNOWN, search_horizon
from lightning_lr.engine.vocabulary import Mode
from lightning_lr.errors import UnsupportedError
from lightning_lr.run.distributed import Ranks
from lightning_lr.run.fit_run import FitRun
from lightning_lr.run.lr_search.before_training import BeforeTraining, drawn
from lightning_lr.run.lr_search.laboratory import reader_for
from lightning_lr.run.lr_search.optimizer_kinds import kind_of
from lightning_lr.run.lr_search.search import LRSearch
from lightning_lr.run.options import ControllerOptions
from lightning_lr.run.readings.reduction_format import pack_budget, unpack_budget
from lightning_lr.run.trainer.callback_kinds import is_a, stops_early
from lightning_lr.run.trainer.schedulers import schedulers_of
from lightning_lr.run.trainer.step_budget import StepBudget
from lightning_lr.run.trainer.strategies import against_restoring, is_sharded
from lightning_lr.run.trainer.time_budget import FIRST
from lightning_lr.run.trainer.trainer_adapter import (
    batches_that_stepped,
    is_compiled,
    limited_by_epochs,
    steps_between_validations,
    timers_of,
)

ANOTHER = "another LearningRateController before this one does"
"""Two that search one rate, or lay two curves over one budget, would both be wrong by the other's factor."""

NONE = "none: "
"""How the sentence for a part of the run begins that there is not; the reason follows."""


@dataclass(frozen=True)
class RunPlan:
    """What was decided for this run, and the sentences for its set-up card.

    Attributes:
        budget: optimizer steps of the whole run; ``None`` where that is unknown, or not known yet.
        exploration: how the first learning rate is found.
        curve: how the learning rate runs over the budget.
        searches: whether the first learning rate is searched.
        anneals: whether the rate falls to zero at the end; ``None`` if it has to be checked for that.
        ends_early: whether it does so where EarlyStopping ends the run, which needs no known budget.
        open_ended: whether it does so at a plateau, as nothing else ends the run.
        validation: optimizer steps from one validation to the next; infinite where that is unknown.
        timed: whether a time limits the run: how many steps that is must be measured first.
        notes: what the user should know of the schedulers.
        plateaus: whether a scheduler of the user's own answers plateaus.
    """

    budget: int | None
    exploration: str
    curve: str
    searches: bool = False
    anneals: bool | None = False
    ends_early: bool = False
    open_ended: bool = False
    validation: float = math.inf
    timed: bool = False
    notes: tuple[str, ...] = ()
    plateaus: bool = False


# --- decided ----------------------------------------------------------------------------------------------------------


def plan_run(options: ControllerOptions, trainer: Any, ranks: Ranks, state: Mapping[str, Any] | None = None) -> RunPlan:
    """What the arguments ask for, or what is best where they leave it open.

    Args:
        options: of the callback.
        trainer: with its optimizers set up.
        ranks: the processes that train together.
        state: of the run that is resumed; empty for a new one.

    Raises:
        UnsupportedError: where ``find_lr=True`` or ``anneal=True`` is asked of a Trainer that cannot.
    """
    timed = bool(timers_of(trainer))
    # Rank 0's: where the ranks' data differ in length, each would lay its own curve.
    own = StepBudget(trainer)
    agreed, validation = ranks.from_rank_zero(
        [pack_budget(own.budget(batches_that_stepped(trainer))), steps_between_validations(trainer)]
    )
    budget = None if timed else unpack_budget(agreed)
    learned = budget is None and not timed and own.may_be_learned
    known = timed or learned or budget is not None
    moving, dormant = schedulers_of(trainer, budget)
    if options.find_lr is True and (unsupported := _unsupported(trainer)):
        raise UnsupportedError(
            f"Expected a learning rate that can be searched for `find_lr=True` but {unsupported}. Leave it out, and "
            "find the rate beforehand."
        )
    if options.anneal is True and not known:
        raise UnsupportedError(
            "Expected a known budget for `anneal=True`: give the Trainer max_epochs, max_steps or max_time."
        )
    chosen = _chosen_otherwise(options, trainer, moving)
    against = "" if chosen else _against_searching(trainer, budget)
    against_annealing = _against_annealing(options, trainer, moving)
    searches = not chosen and not against
    anneals: bool | None = options.anneal is True
    if not against_annealing and options.anneal == "auto" and (searches or (state or {}).get("checked")):
        anneals = None
    ends_early = options.anneal is True or not against_annealing
    stops = any(map(stops_early, trainer.callbacks))
    run_plan = RunPlan(
        budget=budget,
        exploration=_exploration(budget) if searches else f"{NONE}{chosen or against}",
        curve="",
        searches=searches,
        anneals=anneals,
        ends_early=ends_early,
        open_ended=ends_early and not known and not stops and not limited_by_epochs(trainer),
        validation=validation,
        timed=timed,
        notes=() if state else _notes(options, moving, dormant),
        plateaus=any(
            is_a(config.scheduler, "ReduceLROnPlateau") and type(config.scheduler).__name__ in moving
            for config in trainer.lr_scheduler_configs
        ),
    )
    return replace(run_plan, curve=_curve(run_plan, known, learned, against_annealing, stops))


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


def _chosen_otherwise(options: ControllerOptions, trainer: Any, moving: Sequence[str]) -> str:
    """Why nothing is searched that the user knows of, by his own choice; empty if nothing speaks against it."""
    if options.find_lr is False:
        return "find_lr=False"
    if options.dry_run:
        return "dry_run=True"
    if options.snapshots is None:
        return "snapshots=False"
    if _another_controls(options, trainer):
        return ANOTHER
    if options.find_lr is True:
        return ""
    if not options.settings.policy.searches:
        return f"policy {options.settings.policy.name!r} does not search"
    return "the schedule is the user's own" if moving else ""


def _against_searching(trainer: Any, budget: int | None) -> str:
    """Why the rate cannot be searched in this run; empty if it can."""
    unsupported = _unsupported(trainer)
    if unsupported:
        return unsupported
    if search_horizon(budget) is None:
        return f"the run has {budget} steps, fewer than {FEWEST_STEPS}"
    if any(is_a(callback, "LearningRateFinder") for callback in trainer.callbacks):
        return "LearningRateFinder has chosen it already"
    return "the run has begun before" if trainer.global_step else ""


def _unsupported(trainer: Any) -> str:
    """What of this Trainer a search cannot work with."""
    optimizers = [optimizer for optimizer in trainer.optimizers if optimizer.param_groups]
    if len(optimizers) != 1:
        return f"a search takes one optimizer, and there are {len(optimizers)}"
    if not trainer.lightning_module.automatic_optimization:
        return "the module optimizes manually"
    if is_sharded(trainer.strategy):
        return f"{type(trainer.strategy).__name__} shards the weights"
    not_restored = against_restoring(trainer.strategy, trainer.optimizers)
    if not_restored:
        return f"nothing can be put back ({not_restored})"
    if kind_of(optimizers[0]) is None:
        return f"it is not known how the first update of {type(optimizers[0]).__name__} compares with later ones"
    if "dataloader_iter" in inspect.signature(trainer.lightning_module.training_step).parameters:
        return "training_step fetches its batches itself"
    return ""


def _exploration(budget: int | None) -> str:
    horizon = f"{budget} steps" if budget is not None else f"{UNKNOWN} steps, as the budget is unknown"
    return f"the loss is read along the first update, for the best rate over {horizon}"


def _curve(run_plan: RunPlan, known: bool, learned: bool, against: str, stops: bool) -> str:
    """The sentence for the set-up card.

    Args:
        run_plan: what was decided.
        known: whether the budget is known, or will be.
        learned: whether the first epoch shows it.
        against: why the end is not annealed, whether the rate is checked or not; empty if it is.
        stops: whether an EarlyStopping ends the run.
    """
    if run_plan.anneals is not False and known:
        checked = "" if run_plan.anneals else " if the rate was checked"
        said = f"hold, then linear to zero over the last 30 % of what is left{checked}"
        said += ", by an estimate that each check renews" if run_plan.timed else ""
        said += ", once the first epoch has shown how many steps an epoch has" if learned else ""
        return said + ("; or from where EarlyStopping has run out of patience" if stops and run_plan.ends_early else "")
    if run_plan.open_ended:
        return "hold until a plateau, then linear to zero over as many steps again; there the run ends"
    if run_plan.ends_early and stops:
        return "hold, then linear to zero once EarlyStopping has run out of patience"
    return f"{NONE}{against or 'the rate is not checked'}"


def _another_controls(options: ControllerOptions, trainer: Any) -> bool:
    """Whether a controller before ours has the first rate and the curve of the same groups."""
    for callback in trainer.callbacks:
        other = getattr(callback, "options", None)
        if other is options:
            return False
        if isinstance(other, ControllerOptions) and not other.dry_run and other.settings.policy.anneals:
            groups, others = options.param_groups, other.param_groups
            if groups is None or others is None or set(groups) & set(others):
                return True
    return False


def _against_annealing(options: ControllerOptions, trainer: Any, moving: Sequence[str]) -> str:
    if options.anneal is False:
        return "anneal=False"
    if _another_controls(options, trainer):
        return ANOTHER
    if not options.settings.policy.anneals:
        return f"policy {options.settings.policy.name!r} does not anneal"
    if any(is_a(callback, "StochasticWeightAveraging") for callback in trainer.callbacks):
        return "StochasticWeightAveraging has a rate of its own for the end"
    return "the schedule is the user's own" if moving else ""


# --- begun ------------------------------------------------------------------------------------------------------------


def begin_plan(
    fit_run: FitRun,
    run_plan: RunPlan,
    trainer: Any,
    module: Any,
    state: Mapping[str, Any],
    before: BeforeTraining | None,
    no_logger: Callable[[], Any],
) -> None:
    """Begin to search, or lay the curve over the budget, where this run does so; a resumed run goes on."""
    for note in run_plan.notes:
        fit_run.say(note)
    lr_schedule = fit_run.lr_schedule
    if state:
        _resume_budget(fit_run, state)
    if fit_run.options.dry_run or not fit_run.groups.rates():
        return
    lr_schedule.anneals = run_plan.anneals
    if run_plan.timed and not state:
        lr_schedule.budget_known_at = lr_schedule.steps + FIRST
    if run_plan.searches:
        lr_schedule.lr_search = _search(fit_run, run_plan, trainer, module, before, no_logger)
    if run_plan.anneals is False and not lr_schedule.annealing and lr_schedule.ends_at is None:
        lr_schedule.curve = None
    lr_schedule.lay_curve()


def _search(
    fit_run: FitRun,
    run_plan: RunPlan,
    trainer: Any,
    module: Any,
    before: BeforeTraining | None,
    no_logger: Callable[[], Any],
) -> LRSearch:
    kind, horizon = kind_of(trainer.optimizers[0]), search_horizon(run_plan.budget)
    assert kind is not None
    assert horizon is not None
    lowest, highest = _factors(fit_run)
    given = max(rate.applied for rate in fit_run.groups.rates().values())
    usual = kind.usual / given if kind.usual is not None and given > 0 else None
    return LRSearch(
        Finder(kind, horizon, lowest, highest, usual),
        fit_run.groups,
        fit_run.ranks,
        fit_run.settings.monitors,
        fit_run.untrained,
        partial(reader_for, trainer, module, no_logger),
        (lambda: before.units) if before is not None and before.units else partial(drawn, trainer),
        cuts=not is_compiled(module),
        insists=fit_run.options.find_lr is True,
        sign=-1 if fit_run.settings.mode is Mode.MAX else 1,
    )


def _factors(fit_run: FitRun) -> tuple[float, float]:
    """By which factors the rate may be multiplied: within the bounds where there are any, else three decades."""
    lowest, highest = 0.0, math.inf
    for group, rate in enumerate(fit_run.groups.rates().values()):
        low, high = fit_run.settings.bounds(group)
        if rate.applied > 0:
            lowest = max(lowest, low / rate.applied)
            highest = min(highest, math.inf if high is None else high / rate.applied)
    return min(lowest or 1 / DECADES, 1.0), max(DECADES if math.isinf(highest) else highest, 1.0)


def _resume_budget(fit_run: FitRun, state: Mapping[str, Any]) -> None:
    """A resumed run may have another end: with more epochs, other batches, more time. Its first batch shows it."""
    lr_schedule = fit_run.lr_schedule
    assert lr_schedule.step_budget is not None
    other_batches = lr_schedule.step_budget.load_state_dict(state["step_budget"])
    if lr_schedule.time_budget is not None and state["time_budget"] and not other_batches:
        lr_schedule.time_budget.load_state_dict(state["time_budget"])
    lr_schedule.asks_again = True
    lr_schedule.budget_changed()
